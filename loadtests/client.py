"""A small asyncio customer of the router: sign up, fund, order, cancel, read.

Every mutating call carries an idempotency key; when the answer is 503, 429 or the connection breaks, the same call
is sent again with the same key, as often and as long as the retry limits say, honouring Retry-After. So a call that
returns was done exactly once, and a call that raises `Unanswered` may or may not have been done: ask again with its
key. Never guesses: an answer that the caller did not expect raises `UnexpectedAnswer` with everything the server
said.
"""

import asyncio
import random
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from loadtests.figures import to_wire

RETRIED_STATUSES = frozenset({429, 503})
"""Refused for now: the same request may be right in a moment."""


class CustomerError(Exception):
    """A call did not end as the customer may expect."""


class UnexpectedAnswer(CustomerError):
    """The server answered, but with a status that this call does not allow."""

    def __init__(self, method: str, path: str, answer: "Answer") -> None:
        self.method = method
        self.path = path
        self.answer = answer
        where = f"cell {answer.cell}" if answer.cell else "no cell"
        said = answer.text("code") or "no code"
        detail = answer.text("detail") or answer.text("title") or repr(answer.body)[:300]
        super().__init__(
            f"{method} {path}: {answer.status} {said} from {where}: {detail} (request {answer.request_id})"
        )


class RouterSilent(CustomerError):
    """Nobody answers at the router's address."""


class Unanswered(CustomerError):
    """Nothing usable came back within the retry limits; the outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    cell: str | None
    request_id: str | None
    replayed: bool
    retry_after_s: float | None
    elapsed_s: float
    attempts: int

    def text(self, name: str) -> str | None:
        value = self.body.get(name) if isinstance(self.body, dict) else None
        return value if isinstance(value, str) else None

    @property
    def code(self) -> str | None:
        return self.text("code")


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How long a customer insists. The defaults outlast the restart of a cell's database."""

    attempts: int = 12
    """Of one request, the first included."""
    total_s: float = 45.0
    """From the first attempt on."""
    request_s: float = 15.0
    """Of one attempt: longer than the router's own deadline, so that it speaks first."""
    first_pause_s: float = 0.05
    """Doubled after each attempt."""
    longest_pause_s: float = 3.0
    """A database that restarts takes about as long."""


@dataclass(slots=True)
class Tally:
    """What the network did to us; shown at the end of a run."""

    requests: int = 0
    retried: dict[str, int] = field(default_factory=dict)

    def retry(self, reason: str) -> None:
        self.retried[reason] = self.retried.get(reason, 0) + 1


class RouterClient:
    """The connection pool of many customers. Use as an async context manager."""

    def __init__(self, router_url: str, *, connections: int = 64, limits: RetryLimits | None = None) -> None:
        self.router_url = router_url.rstrip("/")
        self.limits = limits or RetryLimits()
        self.tally = Tally()
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30.0),
            timeout=aiohttp.ClientTimeout(total=self.limits.request_s),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def must_answer(self, within_s: float = 10.0) -> None:
        """Find out early that nobody is there; a router that is just starting is waited for. Raises RouterSilent."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            try:
                await self._send("GET", "/openapi.json", {}, None, None, 1)
                return
            except (aiohttp.ClientError, TimeoutError) as error:
                if loop.time() > deadline:
                    raise RouterSilent(f"{self.router_url} does not answer: {error!r}") from error
            await asyncio.sleep(0.25)

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, object] | None = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
        if_match: str | None = None,
    ) -> Answer:
        """One call, sent again while that is safe and sensible: after 429 and 503, and after a broken connection if the
        request is repeatable (a key, or GET). Pauses double and are spread, and never end before `Retry-After`.

        At the limits of attempts or time the last answer is returned, whatever its status. Raises Unanswered if there
        was none: the outcome is unknown.
        """
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["X-Idempotency-Key"] = key
        if if_match is not None:
            headers["If-Match"] = if_match
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = msgspec.json.encode(body)
        repeatable = key is not None or method == "GET"
        loop = asyncio.get_running_loop()
        started = loop.time()
        pause_s = self.limits.first_pause_s
        attempt = 0
        while True:
            attempt += 1
            self.tally.requests += 1
            answer: Answer | None = None
            broken: Exception | None = None
            try:
                answer = await self._send(method, path, headers, data, query, attempt)
            except (aiohttp.ClientError, TimeoutError) as error:
                broken = error
            if answer is not None and answer.status not in RETRIED_STATUSES:
                return answer
            reason = (answer.code or str(answer.status)) if answer else type(broken).__name__
            wait_s = pause_s * (0.75 + random.random() / 2)
            if answer is not None and answer.retry_after_s is not None:
                wait_s = max(wait_s, answer.retry_after_s)
            spent_s = loop.time() - started
            out_of_limits = attempt >= self.limits.attempts or spent_s + wait_s > self.limits.total_s
            if answer is not None and out_of_limits:
                return answer
            if broken is not None and (out_of_limits or not repeatable):
                raise Unanswered(
                    f"{method} {path}: {reason}: {broken} after {attempt} attempts in {spent_s:.1f} s; outcome unknown"
                ) from broken
            self.tally.retry(reason)
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, self.limits.longest_pause_s)

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: bytes | None,
        query: Mapping[str, str] | None,
        attempt: int,
    ) -> Answer:
        assert self._session is not None, "use RouterClient as an async context manager"
        started = perf_counter()  # the loop's own clock counts whole milliseconds
        async with self._session.request(
            method, self.router_url + path, headers=headers, data=data, params=query
        ) as response:
            raw = await response.read()
            return Answer(
                status=response.status,
                body=_decode(raw),
                cell=response.headers.get("X-Cell"),
                request_id=response.headers.get("X-Request-Id"),
                replayed=response.headers.get("Idempotency-Replayed") == "true",
                retry_after_s=_seconds(response.headers.get("Retry-After")),
                elapsed_s=perf_counter() - started,
                attempts=attempt,
            )

    async def expect(
        self,
        statuses: Collection[int],
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, object] | None = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises UnexpectedAnswer."""
        answer = await self.call(method, path, token=token, body=body, key=key, query=query)
        if answer.status not in statuses:
            raise UnexpectedAnswer(method, path, answer)
        return answer

    async def sign_up(self, email: str, password: str, *, name: str | None = None) -> "Customer":
        body: dict[str, object] = {"email": email, "password": password}
        if name is not None:
            body["name"] = name
        answer = await self.expect({201}, "POST", "/v1/users", body=body, key=new_key())
        return Customer(self, email, password, answer)

    async def log_in(self, email: str, password: str) -> "Customer":
        body = {"grant_type": "password", "email": email, "password": password}
        answer = await self.expect({200}, "POST", "/v1/tokens", body=body)
        return Customer(self, email, password, answer)


class Customer:
    """One signed-in person. Renews the access token by itself when the router says it has expired."""

    def __init__(self, router: RouterClient, email: str, password: str, signed_in: Answer) -> None:
        self.router = router
        self.email = email
        self._password = password
        self.cell = signed_in.cell
        self.access_token = str(signed_in.body["access_token"])
        user_id = signed_in.text("user_id")
        self._user_id = uuid.UUID(user_id) if user_id is not None else None

    @classmethod
    def known(cls, router: RouterClient, email: str, password: str, access_token: str, user_id: uuid.UUID) -> Self:
        """Who signed in earlier, and kept the token; it may have expired since."""
        body = {"access_token": access_token, "user_id": str(user_id)}
        return cls(router, email, password, Answer(200, body, None, None, False, None, 0.0, 1))

    @property
    def user_id(self) -> uuid.UUID:
        assert self._user_id is not None, "only a sign-up says the user id"
        return self._user_id

    async def call(
        self,
        statuses: Collection[int],
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
        if_match: str | None = None,
    ) -> Answer:
        """Raises UnexpectedAnswer."""
        token = self.access_token
        answer = await self.router.call(method, path, token=token, body=body, key=key, query=query, if_match=if_match)
        if answer.status == 401 and answer.code == "TOKEN_EXPIRED":
            if token == self.access_token:
                self.access_token = (await self.router.log_in(self.email, self._password)).access_token
            answer = await self.router.call(
                method, path, token=self.access_token, body=body, key=key, query=query, if_match=if_match
            )
        if answer.cell is not None:
            self.cell = answer.cell
        if answer.status not in statuses:
            raise UnexpectedAnswer(method, path, answer)
        return answer

    async def deposit(self, amount_micros: int, *, key: str | None = None) -> Answer:
        return await self.call(
            {201}, "POST", "/v1/deposits", body={"amount": to_wire(amount_micros)}, key=key or new_key()
        )

    async def transfer_shares(
        self, symbol: str, qty_micros: int, unit_cost_micros: int, *, key: str | None = None
    ) -> Answer:
        body = {"symbol": symbol, "qty": to_wire(qty_micros), "unit_cost": to_wire(unit_cost_micros)}
        return await self.call({201}, "POST", "/v1/share-transfers", body=body, key=key or new_key())

    async def bring_shares(self, symbol: str, qty_micros: int, unit_cost_micros: int) -> list[str]:
        """As `transfer_shares`; the id of the transfer if an operator must approve it, else nothing."""
        body = (await self.transfer_shares(symbol, qty_micros, unit_cost_micros)).body
        return [str(body["transfer_id"])] if body["status"] == "pending" else []

    async def place(
        self, order: Mapping[str, object], *, key: str | None = None, statuses: Collection[int] = (201,)
    ) -> Answer:
        return await self.call(statuses, "POST", "/v1/orders", body=order, key=key or new_key())

    async def cancel(self, order_id: str, *, key: str | None = None) -> Answer:
        """202 pending_cancel, 200 ended at once, or 409 when it had ended before. Raises UnexpectedAnswer."""
        answer = await self.call({200, 202, 409}, "DELETE", f"/v1/orders/{order_id}", key=key or new_key())
        if answer.status == 409 and answer.code != "ORDER_NOT_OPEN":
            raise UnexpectedAnswer("DELETE", f"/v1/orders/{order_id}", answer)
        return answer

    async def replace(
        self, order_id: str, changes: Mapping[str, object], *, etag: str, key: str | None = None
    ) -> Answer:
        """202 the new order, or 409 / 412 when the order had moved on."""
        path = f"/v1/orders/{order_id}"
        return await self.call({202, 409, 412}, "PATCH", path, body=changes, key=key or new_key(), if_match=etag)

    async def account(self) -> dict[str, Any]:
        return dict((await self.call({200}, "GET", "/v1/account")).body)

    async def order(self, order_id: str) -> dict[str, Any]:
        return dict((await self.call({200}, "GET", f"/v1/orders/{order_id}")).body)

    async def order_by_client_order_id(self, client_order_id: str) -> dict[str, Any]:
        return dict((await self.call({200}, "GET", f"/v1/orders/by-client-order-id/{client_order_id}")).body)

    async def executions(self, order_id: str) -> list[dict[str, Any]]:
        return await self.items(f"/v1/orders/{order_id}/executions", {"direction": "asc"})

    async def positions(self) -> list[dict[str, Any]]:
        return await self.items("/v1/positions")

    async def items(self, path: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Every item of a list, page after page."""
        found: list[dict[str, Any]] = []
        page_token: str | None = None
        while True:
            wanted = {"limit": "500", **(query or {})}
            if page_token is not None:
                wanted["page_token"] = page_token
            answer = await self.call({200}, "GET", path, query=wanted)
            found.extend(answer.body["items"])
            page_token = answer.body["next_page_token"]
            if page_token is None:
                return found


def new_key() -> str:
    return uuid.uuid4().hex


def _decode(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode("utf-8", "replace")


def _seconds(text: str | None) -> float | None:
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return float(text)
