"""Who follows a list misses nothing and sees no time go back, whatever processes write and whatever their clocks say.

A follower reads upwards and goes on from where it was: by its page token, or by the time of the last row it saw
(`after=`). What is written meanwhile comes later in its list, never before what it has seen.
"""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import psycopg
import pytest

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.dsn import with_clock_offset
from infra.runtime.fault_points import FaultPoints
from infra.runtime.settings import ClockSettings, PostgresSettings
from infra.runtime.sql_files import read_sql
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.integration.test_customer_port import ORDER, Port
from tests.support.app_server import app_server
from tests.support.databases import TestDatabase
from tests.support.windows import DEADLINE_S

pytestmark = pytest.mark.anyio

ORDERS = 8
"""Of each app server."""
CLOCKS_S = (0.0, 2.0, -2.0, 1.0)
"""How far each app server's clock is ahead of the machine's; the worker's is behind all of them."""
WORKER_CLOCK_S = -3.0


class Ask(Protocol):
    async def __call__(self, method: str, target: str, body: object = None, *, server: int = 0) -> tuple[int, Any]: ...


class Follower:
    """Reads one list upwards, a few rows at a time."""

    def __init__(self, ask: Ask, path: str, key: str, *, server: int = 0, by_time: str | None = None) -> None:
        self._ask, self._path, self._key, self._server, self._by_time = ask, path, key, server, by_time
        self._from = ""
        self.seen: list[dict[str, Any]] = []

    @property
    def keys(self) -> list[Any]:
        return [item[self._key] for item in self.seen]

    async def read(self) -> None:
        """On from where it was to the end of the list. The last page is read again next time, as it may have grown."""
        while True:
            status, page = await self._ask(
                "GET", f"{self._path}?direction=asc&limit=2{self._from}", server=self._server
            )
            assert status == 200
            keys = self.keys
            self.seen += [item for item in page["items"] if item[self._key] not in keys]
            if self._by_time and page["items"]:
                self._from = f"&after={page['items'][-1][self._by_time]}"
            elif page["next_page_token"]:
                self._from = f"&page_token={page['next_page_token']}"
            if not page["next_page_token"]:
                return


class Gate(FaultPoints):
    """Holds back the calls of one app server, as a machine does that is busy or stands still."""

    def __init__(self) -> None:
        super().__init__({})
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def reach(self, name: str) -> None:
        if name == "batch.before_call":
            self.reached.set()
            await self.opened.wait()


class Worker:
    """What worker and venue do, by a clock of their own: orders are sent, acknowledged and filled in two parts."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    async def call(self, query: str, *parameters: object) -> list[Any]:
        return await (await self._connection.execute(query, parameters)).fetchall()

    async def turn(self) -> None:
        while claimed := await self.call("select order_id from claim_instructions_v1(64)"):
            for (order_id,) in claimed:
                # the venue's own time runs backwards here: it is nobody's order
                for kind, second in (("accepted", 9), ("fill", 5), ("fill", 3)):
                    await self.tell(order_id, kind, f"2026-11-20T15:00:0{second}Z", last_qty=1000, last_px=99_990_000)

    async def tell(self, order_id: uuid.UUID, kind: str, at: str, **told: object) -> str:
        number = next(self._numbers)
        body = {"kind": kind, "trade_date": "2026-11-20", "at": at, "exec_id": f"x-{number}", **told}
        accept = "select inbox_id from accept_reports_v1('v', 's', %s::bigint[], %s, %s::jsonb[], now())"
        inbox_ids = [row[0] for row in await self.call(accept, [number], [order_id], [json.dumps(body)])]
        apply = "select outcome from apply_reports_v1(%s::bigint[], '2026-11-23')"
        outcome = "deferred"
        while outcome == "deferred":  # an app server has the user
            [(outcome,)] = await self.call(apply, inbox_ids)
        return outcome


@asynccontextmanager
async def working(database: TestDatabase, clock_s: float = WORKER_CLOCK_S) -> AsyncIterator[Worker]:
    dsn = with_clock_offset(database.service_dsn, clock_s)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield Worker(connection)


def open_account(database: TestDatabase) -> uuid.UUID:
    user_id = uuid.uuid4()
    with psycopg.connect(database.service_dsn, autocommit=True) as cell:
        cell.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        cell.execute("select open_account_v1(%s, 1, 'professional', %s, null, 'x')", [user_id, user_id.hex])
        deposit = "select deposit_cash_v1(%s, array['d'], array['f'::bytea], array[1000000000000])"
        cell.execute(deposit, [[user_id]])
    return user_id


def signer(keys: Path) -> RouteTokenSigner:
    return RouteTokenSigner(load_key_ring(keys / ROUTE_FILE))


@asynccontextmanager
async def serving(database: TestDatabase, keys: Path, clocks_s: Sequence[float]) -> AsyncIterator[Port]:
    """App servers of one cell, each with a clock of its own, in this process."""
    generate_key_files(keys)
    async with AsyncExitStack() as stack:
        servers: list[CellApp] = []
        for clock_s in clocks_s:
            settings = CellSettings(
                name="cell-1",
                postgres=PostgresSettings(dsn=database.service_dsn),
                keys_dir=keys,
                market_hours="always",
                clock=ClockSettings(offset_s=clock_s),
            )
            servers.append(create_app(settings))
            await stack.enter_async_context(servers[-1].running())
        yield Port(servers, signer(keys), open_account(database), database)


def asking(port: Port) -> Ask:
    async def ask(method: str, target: str, body: object = None, *, server: int = 0) -> tuple[int, Any]:
        status, _, answer = await port.ask(method, target, body, server=server)
        return status, answer

    return ask


def broken_checks(database: TestDatabase) -> dict[str, Any]:
    with psycopg.connect(database.service_dsn, autocommit=True) as cell:
        found = {check.name: cell.execute(check.text).fetchall() for check in read_sql("cell", "checks")}
    return {name: rows for name, rows in found.items() if rows}


@pytest.mark.parametrize("late_by_s", [2.0, 0.0])
async def test_an_order_of_a_server_that_was_held_back_comes_last(
    cell_database: TestDatabase, tmp_path: Path, late_by_s: float
) -> None:
    """Its request came first and its clock is behind; what a follower has seen meanwhile stands before it."""
    async with serving(cell_database, tmp_path, [-late_by_s, 0.0]) as port:
        ask = asking(port)
        followers = [Follower(ask, "/v1/orders", "order_id"), Follower(ask, "/v1/ledger", "seq")]
        followers.append(Follower(ask, "/v1/orders", "order_id", by_time="created_at"))
        gate = Gate()
        port.servers[0].batcher._faults = gate
        held = asyncio.create_task(ask("POST", "/v1/orders", ORDER))
        await gate.reached.wait()
        for _ in range(5):
            assert (await ask("POST", "/v1/orders", ORDER, server=1))[0] == 201
        for follower in followers:
            await follower.read()
        gate.opened.set()
        status, order = await held
        assert status == 201
        for follower in followers:
            await follower.read()
        assert followers[0].keys[-1] == followers[2].keys[-1] == order["order_id"]
        assert followers[1].seen[-1]["order_id"] == order["order_id"]
        assert [len(follower.seen) for follower in followers] == [6, 7, 6]
        for follower, field in zip(followers, ("created_at", "occurred_at", "created_at"), strict=True):
            times = [item[field] for item in follower.seen]
            assert times == sorted(times)
    assert broken_checks(cell_database) == {}


async def test_a_step_of_a_process_whose_clock_is_behind_comes_after_the_step_before_it(
    cell_database: TestDatabase, tmp_path: Path
) -> None:
    async with serving(cell_database, tmp_path, [2.0]) as port, working(cell_database, -60.0) as worker:
        ask = asking(port)
        _, order = await ask("POST", "/v1/orders", ORDER)
        steps = Follower(ask, f"/v1/orders/{order['order_id']}/events", "seq")
        await steps.read()
        await worker.turn()
        assert (await ask("DELETE", f"/v1/orders/{order['order_id']}"))[0] == 202
        await steps.read()
        assert [step["to"] for step in steps.seen] == [
            *("pending", "validated", "funds_held", "routed", "partially_filled", "partially_filled", "pending_cancel")
        ]
        times = [step["at"] for step in steps.seen]
        assert times == sorted(times)
        assert len(set(times[2:])) == 5, "each write has a time of its own"
    assert broken_checks(cell_database) == {}


async def test_executions_are_followed_in_the_order_in_which_they_were_recorded(
    cell_database: TestDatabase, tmp_path: Path
) -> None:
    """What moves nothing has no entry of its own, and the venue tells any time: it comes after what was seen."""
    told: list[dict[str, Any]] = [
        {"kind": "fill", "exec_id": "x-a", "last_qty": 1, "last_px": 99_990_000, "at": "2026-11-20T15:00:09Z"},
        {"kind": "correct", "exec_id": "x-b", "exec_ref_id": "x-a", "last_qty": 1, "last_px": 99_980_000,
         "at": "2026-11-20T15:00:05Z"},
        {"kind": "correct", "exec_id": "x-c", "exec_ref_id": "x-b", "last_qty": 1, "last_px": 99_970_000,
         "at": "2026-11-20T15:00:01Z"},
    ]  # fmt: skip
    async with serving(cell_database, tmp_path, [0.0]) as port, working(cell_database) as worker:
        ask = asking(port)
        _, order = await ask("POST", "/v1/orders", ORDER)
        await worker.call("select 1 from claim_instructions_v1(64)")
        executions = Follower(ask, f"/v1/orders/{order['order_id']}/executions", "exec_id")
        for report in told:
            assert await worker.tell(uuid.UUID(order["order_id"]), **report) == "applied"
            await executions.read()
        assert executions.keys == ["x-a", "x-b", "x-c"]
        assert [item["at"] for item in executions.seen] == [
            f"2026-11-20T15:00:0{second}.000000Z" for second in (9, 5, 1)
        ], "the venue's times as it told them"
        recorded = [item["recorded_at"] for item in executions.seen]
        assert recorded == sorted(set(recorded))
    assert broken_checks(cell_database) == {}


async def follow_all(ask: Ask, database: TestDatabase, servers: int) -> None:
    """Every server places for one customer, a worker trades what they placed, and followers read all that time."""
    placing: list[asyncio.Task[list[str]]] = []

    async def place(server: int) -> list[str]:
        placed: list[str] = []
        for _ in range(ORDERS):
            status, order = await ask("POST", "/v1/orders", ORDER, server=server)
            assert status == 201
            placed.append(order["order_id"])
        return placed

    async def follow(follower: Follower) -> None:
        while not all(task.done() for task in placing):
            await follower.read()

    async with working(database) as worker:

        async def trade() -> None:
            while not all(task.done() for task in placing):
                await worker.turn()

        placing += [asyncio.create_task(place(server)) for server in range(servers)]
        lists = [
            Follower(ask, "/v1/orders", "order_id", server=servers - 1),
            Follower(ask, "/v1/orders", "order_id", by_time="created_at"),
            Follower(ask, "/v1/ledger", "seq"),
        ]
        await asyncio.gather(*placing, *map(follow, lists), trade())
        await worker.turn()
        details = [
            Follower(ask, f"/v1/orders/{task.result()[-1]}/{kind}", key)
            for task in placing
            for kind, key in (("events", "seq"), ("executions", "exec_id"))
        ]
        for follower in (*lists, *details):
            await follower.read()
    placed = {order_id for task in placing for order_id in task.result()}
    by_token, by_time, ledger = lists
    assert set(by_token.keys) == set(by_time.keys) == placed, "nothing was missed"
    assert by_token.keys == by_time.keys == sorted(placed)
    assert ledger.keys == list(range(1, len(ledger.seen) + 1))
    fields = ["created_at", "created_at", "occurred_at", *["at", "recorded_at"] * servers]
    for follower, field in zip((*lists, *details), fields, strict=True):
        assert follower.seen
        assert [item[field] for item in follower.seen] == sorted(item[field] for item in follower.seen)
    assert broken_checks(database) == {}


@pytest.mark.parametrize("servers", [1, 2, 4])
async def test_a_follower_misses_nothing_of_any_number_of_servers(
    cell_database: TestDatabase, tmp_path: Path, servers: int
) -> None:
    async with serving(cell_database, tmp_path, CLOCKS_S[:servers]) as port:
        await follow_all(asking(port), cell_database, servers)


async def test_a_follower_misses_nothing_of_two_processes(cell_database: TestDatabase, tmp_path: Path) -> None:
    generate_key_files(tmp_path)
    user_id = open_account(cell_database)
    sign = signer(tmp_path)
    with (
        app_server(cell_database, tmp_path, clock_offset_s=CLOCKS_S[1]) as first,
        app_server(cell_database, tmp_path, clock_offset_s=CLOCKS_S[2]) as second,
    ):
        urls = [first.url, second.url]
        async with aiohttp.ClientSession() as session:

            async def ask(method: str, target: str, body: object = None, *, server: int = 0) -> tuple[int, Any]:
                expires_at_s = int(time.time()) + 60
                token = sign.sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=expires_at_s)
                headers = {"x-route-token": token, "x-idempotency-key": uuid.uuid4().hex}
                async with session.request(method, urls[server] + target, json=body, headers=headers) as answer:
                    return answer.status, await answer.json()

            for server in range(2):
                await until_up(ask, server)
            await follow_all(ask, cell_database, 2)


async def until_up(ask: Ask, server: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            assert (await ask("GET", "/v1/account", server=server))[0] == 200
            return
        except aiohttp.ClientConnectorError:
            assert time.monotonic() < deadline, "an app server does not start"
            await asyncio.sleep(0.05)
