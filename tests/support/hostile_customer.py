"""A customer who sends everything that there is, and sends it badly.

They send a request twice at once over two app servers, change the body under the same key, give up in the middle and
come back with it at the end, spell one order in two ways, and repeat everything that they ever sent. They keep what
they sent and heard, and judge nothing: `wrong_answers` and the statement do.
"""

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from infra.security.route_token import RouteTokenSigner
from tests.support.app_server import AppServer
from tests.support.random_choices import MICROS, OTHER_SYMBOL, SYMBOLS, Body, RandomChoices, dollars, to_tick

INSIST_S = 45.0


@dataclass(frozen=True)
class Heard:
    status: int
    replayed: bool
    body: Any

    @property
    def code(self) -> str | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


@dataclass
class Ask:
    """One content under a key; `write.asks` has several if the customer changed their mind about it."""

    path: str
    body: Body | None
    heard: list[Heard] = field(default_factory=list)


@dataclass
class Write:
    method: str
    key: str
    asks: list[Ask]
    if_match: str | None = None
    was_given_up: bool = False

    def done(self) -> tuple[Ask, Heard] | None:
        """The content that the key stands for, and its answer; None if all of it was refused unread."""
        for ask in self.asks:
            for heard in ask.heard:
                if heard.code != "IDEMPOTENCY_KEY_REUSED":
                    return ask, heard
        return None


@dataclass
class HostileCustomer:
    user_id: uuid.UUID
    choices: RandomChoices
    servers: Sequence[AppServer]
    session: aiohttp.ClientSession
    signer: RouteTokenSigner
    tally: Counter[str]
    writes: list[Write] = field(default_factory=list)
    orders: list[Body] = field(default_factory=list)
    """As they were answered when they were placed."""

    @property
    def chance(self) -> random.Random:
        return self.choices.chance

    # -- how it is sent -----------------------------------------------------------------------------------------------

    async def fund(self) -> None:
        """Before anything else, so that the order of shares and trades is known."""
        cash = self.chance.choice(("2000.000001", "9000", "30000.5"))
        await self._insist(self._note("POST", "/v1/deposits", {"amount": cash}))
        for symbol in SYMBOLS:
            worth = {"symbol": symbol, "qty": "40.000003", "unit_cost": dollars(self.choices.prices[symbol] * 4 // 5)}
            await self._insist(self._note("POST", "/v1/share-transfers", worth))

    async def trade(self, count: int) -> None:
        for _ in range(count):
            if self.writes and self.chance.random() < 0.06:
                self.tally["repeated at random"] += 1
                await self._once(write := self.chance.choice(self.writes), self.chance.choice(write.asks))
                continue
            await self._send_badly(await self._next_write())

    async def come_back(self) -> None:
        """Everything that has no answer yet, in any order."""
        left = [write for write in self.writes if any(not ask.heard for ask in write.asks)]
        self.chance.shuffle(left)
        for write in left:
            knows_nothing = not any(ask.heard for ask in write.asks)
            await self._insist(write)
            if write.was_given_up and knows_nothing:
                done = write.done()
                self.tally["given up, was done" if done and done[1].replayed else "given up, was not done"] += 1

    async def repeat_everything(self) -> None:
        for write in self.chance.sample(self.writes, len(self.writes)):
            for ask in write.asks:
                await self._insist_once(write, ask)

    async def run_errands(self, set_faults: Callable[[dict[str, float]], Awaitable[None]]) -> None:
        """One of each that chance may not have met; their funds are untouched before."""
        px = self.choices.prices["GME"]
        buy = {"symbol": "GME", "side": "buy", "type": "limit", "qty": "4", "time_in_force": "gtc"}
        near, rests = {**buy, "limit_price": dollars(px)}, {**buy, "limit_price": dollars(to_tick(px * 93 // 100))}
        await set_faults({"reject_rate": 1.0})
        await self._await_status(await self._must("POST", "/v1/orders", near, 201), "rejected")
        await set_faults({"replace_refused_rate": 1.0, "late_fill_rate": 1.0})
        old = await self._await_status(await self._must("POST", "/v1/orders", rests, 201), "routed")
        path = f"/v1/orders/{old['order_id']}"
        await self._must("PATCH", path, {"qty": "6"}, 412, '"1"')
        await self._await_status(await self._must("PATCH", path, {"qty": "6"}, 202, old["etag"]), "rejected")
        await self._must("DELETE", path, None, 202)
        await self._await_status(old, "cancelled")
        await self._must("DELETE", path, None, 409)
        for kind in ("bust", "correct"):
            await set_faults({f"{kind}_rate": 1.0})
            market = {"symbol": "GME", "side": "buy", "type": "market", "qty": "3.000001", "time_in_force": "fok"}
            traded = await self._must("POST", "/v1/orders", market, 201)
            await self._await(f"/v1/orders/{traded['order_id']}/executions", lambda page: len(page["items"]) == 2)
        await set_faults({})
        old = await self._await_status(await self._must("POST", "/v1/orders", rests, 201), "routed")
        new = await self._must("PATCH", f"/v1/orders/{old['order_id']}", {"qty": "6"}, 202, old["etag"])
        await self._await_status(new, "routed")
        for side in ("buy", "sell"):
            by_amount = {"symbol": "GME", "side": side, "type": "market", "notional": "77.777777"}
            await self._await_status(await self._must("POST", "/v1/orders", by_amount, 201), "filled")
        stop = {"symbol": "GME", "side": "sell", "type": "stop", "qty": "1", "stop_price": rests["limit_price"]}
        armed = await self._must("POST", "/v1/orders", stop, 201)
        armed = await self._must("PATCH", f"/v1/orders/{armed['order_id']}", {"qty": "2"}, 202, armed["etag"])
        await self._must("DELETE", f"/v1/orders/{armed['order_id']}", None, 200)
        await self._must("POST", "/v1/orders", stop, 201)
        await self._must("POST", "/v1/orders", {**near, "qty": "1000000"}, 422)
        await self._must("POST", "/v1/orders", {**near, "side": "sell", "qty": "1000"}, 422)
        await self._must("POST", "/v1/orders", {**near, "limit_price": dollars(to_tick(px * 2))}, 422)
        await self._must("DELETE", f"/v1/orders/{uuid.uuid4()}", None, 404)

    async def _must(self, method: str, path: str, body: Body | None, status: int, if_match: str | None = None) -> Body:
        await self._insist(write := self._note(method, path, body, if_match))
        heard = write.asks[0].heard[0]
        assert heard.status == status, (method, path, body, heard)
        said: Body = heard.body
        return said

    async def _await_status(self, order: Body, status: str) -> Body:
        return await self._await(f"/v1/orders/{order['order_id']}", lambda seen: bool(seen["status"] == status))

    async def _await(self, path: str, is_there: Callable[[Body], bool]) -> Body:
        ends_at = time.monotonic() + INSIST_S
        while not is_there(seen := await self.read(path)):
            assert time.monotonic() < ends_at, f"GET {path}: {seen}"
            await asyncio.sleep(0.02)
        return dict(seen)

    async def read(self, path: str) -> Any:
        ends_at = time.monotonic() + INSIST_S
        while True:
            heard = await self._send("GET", path, None, {}, self.chance.randrange(2), 10.0)
            if heard is not None and heard.status == 200:
                return heard.body
            assert time.monotonic() < ends_at, f"GET {path}: {heard}"
            await asyncio.sleep(0.05)

    async def read_all(self, path: str) -> list[Any]:
        items: list[Any] = []
        token = ""
        while True:
            joint = "&" if "?" in path else "?"
            page = await self.read(f"{path}{joint}limit=97&direction=asc{token}")
            items += page["items"]
            if page["next_page_token"] is None:
                return items
            token = f"&page_token={page['next_page_token']}"

    async def _send_badly(self, write: Write) -> None:
        first, style = write.asks[0], self.chance.random()
        if style < 0.3:
            await self._insist_once(write, first)
        elif style < 0.55:
            self.tally["sent twice at once"] += 1
            await asyncio.gather(*(self._once(write, first) for _ in range(self.chance.choice((2, 2, 3)))))
            await self._insist_once(write, first)
        elif style < 0.75:
            self.tally["given up"] += 1
            write.was_given_up = True
            await self._once(write, first, give_up_s=self.chance.choice((0.002, 0.005, 0.01, 0.03)))
        elif style < 0.85 and first.body is not None:
            self.tally["changed under its key"] += 1
            write.asks.append(Ask(first.path, self.choices.another(first.body)))
            asks = self.chance.sample(write.asks, 2)
            await asyncio.gather(*(self._once(write, ask) for ask in asks))
            await self._insist(write)
        else:
            await self._insist_once(write, first)
            await self._insist_once(write, first)
        self._remember(write)

    async def _insist(self, write: Write) -> None:
        for ask in write.asks:
            if not ask.heard:
                await self._insist_once(write, ask)

    async def _insist_once(self, write: Write, ask: Ask) -> None:
        ends_at = time.monotonic() + INSIST_S
        while not await self._once(write, ask):
            assert time.monotonic() < ends_at, f"nobody answers {write}"
            self.tally["insisted"] += 1
            await asyncio.sleep(0.05)

    async def _once(self, write: Write, ask: Ask, give_up_s: float = 10.0) -> bool:
        headers = {"X-Idempotency-Key": write.key}
        if write.if_match is not None:
            headers["If-Match"] = write.if_match
        content = None if ask.body is None else self._spell(ask.body)
        heard = await self._send(write.method, ask.path, content, headers, self.chance.randrange(2), give_up_s)
        if heard is None:
            return False
        ask.heard.append(heard)
        self.tally["replayed"] += heard.replayed
        return True

    def _spell(self, body: Body) -> bytes:
        """Keys in any order, amounts as text or as numbers, with zeros that mean nothing."""
        parts = []
        for name, value in self.chance.sample(sorted(body.items()), len(body)):
            text = json.dumps(value)
            if isinstance(value, str) and value.replace(".", "", 1).isdigit():
                plain = value + ("0" if "." in value else ".0") if self.chance.random() < 0.3 else value
                text = plain if self.chance.random() < 0.5 else f'"{plain}"'
            parts.append(f"{json.dumps(name)}:{text}")
        return ("{" + ", ".join(parts) + "}").encode()

    async def _send(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str], server: int, give_up_s: float
    ) -> Heard | None:
        token = self.signer.sign(user_id=self.user_id, cell_id="cell-1", epoch=1, expires_at_s=int(time.time()) + 60)
        every = {"X-Route-Token": token, "Content-Type": "application/json", **headers}
        url = self.servers[server].url + path
        try:
            async with (
                asyncio.timeout(give_up_s),
                self.session.request(method, url, data=content, headers=every) as answer,
            ):
                body = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.tally["no answer"] += 1
            return None
        if answer.status == 503:
            self.tally[f"503 {body['code']}"] += 1
            return None
        return Heard(answer.status, answer.headers.get("Idempotency-Replayed") == "true", body)

    # -- what is sent -------------------------------------------------------------------------------------------------

    def _note(self, method: str, path: str, body: Body | None, if_match: str | None = None) -> Write:
        write = Write(method, self.chance.randbytes(12).hex(), [Ask(path, body)], if_match)
        self.writes.append(write)
        return write

    def _remember(self, write: Write) -> None:
        done = write.done()
        if (
            done is not None
            and done[1].status in (201, 202)
            and "order_id" in done[1].body
            and write.method != "DELETE"
        ):
            self.orders.append(done[1].body)

    async def _next_write(self) -> Write:
        draw = self.chance.random()
        if draw < 0.5 or not self.orders:
            return self._note("POST", "/v1/orders", self.choices.order())
        order = await self._pick_order()
        path = f"/v1/orders/{order['order_id']}"
        if draw < 0.68:
            if order["client_order_id"] is not None and self.chance.random() < 0.5:
                path = f"/v1/orders/by-client-order-id/{order['client_order_id']}"
            return self._note("DELETE", path if self.chance.random() < 0.9 else f"/v1/orders/{uuid.uuid4()}", None)
        if draw < 0.93:
            seen = order["etag"]
            tag = self.chance.choice((seen, seen, seen, '"3"', "*", f"W/{seen}", f'"1", {seen}', f'"x,y",{seen}, "3"'))
            return self._note("PATCH", path, self.choices.changes(order), tag)
        if draw < 0.97:
            return self._note("POST", "/v1/deposits", {"amount": dollars(self.chance.randint(1, 50 * MICROS))})
        shares = {"symbol": OTHER_SYMBOL, "qty": dollars(self.chance.randint(1, 9 * MICROS)), "unit_cost": "7.654321"}
        return self._note("POST", "/v1/share-transfers", shares)

    async def _pick_order(self) -> Body:
        """An order as it is now; mostly one that is open."""
        for order in self.chance.sample(self.orders, min(4, len(self.orders))):
            seen: Body = await self.read(f"/v1/orders/{order['order_id']}")
            if seen["leaves_qty"] != "0.000000" or self.chance.random() < 0.1:
                break
        return seen
