"""One user does their utmost inside a cell: nobody else waits for what is private to that user.

A lock on that user's row is held by somebody else all the while, so whatever waits for it waits for good."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cell.commands import batcher as batching
from cell.commands.arguments import Arguments, CancelArguments, DepositArguments
from cell.commands.command import Command, CommandKind
from infra.runtime.database import make_pool
from infra.runtime.fair_permits import FairPermits
from infra.runtime.on_behalf import on_behalf_of
from infra.runtime.pool import PoolBusy
from infra.runtime.procedures import ConnectionsTaken, call
from infra.runtime.settings import PostgresSettings
from tests.support.cell_port import CellPort, cell_port
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually

pytestmark = pytest.mark.anyio

ORDER = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "100.00"}
FLOOD = 60


@pytest.fixture
async def port(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[CellPort]:
    async with cell_port(cell_database, tmp_path) as port:
        yield port


@contextmanager
def locked(port: CellPort, user_id: uuid.UUID) -> Any:
    with psycopg.connect(port.database.superuser_dsn) as blocker:
        blocker.execute("select 1 from brokerage.users where user_id = %s for update", [user_id])
        yield blocker


async def quiet_is_served(port: CellPort, quiet: uuid.UUID) -> None:
    assert (await port.ask(quiet, "POST", "/v1/orders", ORDER))[0] == 201
    for target in ("/v1/account", "/v1/orders", "/v1/positions", "/v1/portfolio"):
        assert (await port.ask(quiet, "GET", target))[0] == 200
    assert (await port.ask(quiet, "POST", "/v1/orders/preview", ORDER))[0] == 200


async def test_a_flood_of_previews_of_a_locked_user_waits_for_nothing_and_harms_nobody(port: CellPort) -> None:
    noisy, quiet = port.open_user(), port.open_user()
    with locked(port, noisy):
        flood = [asyncio.create_task(port.ask(noisy, "POST", "/v1/orders/preview", ORDER)) for _ in range(FLOOD)]
        await quiet_is_served(port, quiet)
        assert (await port.ask(noisy, "GET", "/v1/account"))[0] == 200
        answers = await asyncio.gather(*flood)
    assert Counter(status for status, _ in answers) == {200: FLOOD}
    assert all(preview["would_accept"] for _, preview in answers)
    assert (await port.ask(noisy, "GET", "/v1/orders"))[1]["items"] == []


async def test_sessions_of_a_locked_user_hold_no_connection_while_they_wait(port: CellPort) -> None:
    """No statement of theirs waits at the database, and everybody else is served."""
    noisy, quiet = port.open_user(), port.open_user()
    token = f"{noisy.hex}.{uuid.uuid4().hex}.{'x' * 43}"
    with locked(port, noisy) as blocker, psycopg.connect(port.database.superuser_dsn, autocommit=True) as seen:
        flood = [
            asyncio.create_task(port.ask(noisy, "POST", "/internal/v1/sessions/refresh", {"refresh_token": token}))
            for _ in range(FLOOD)
        ]
        waiting = 0
        while not all(task.done() for task in flood):
            row = seen.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            ).fetchone()
            assert row is not None
            waiting += row[0]
            await quiet_is_served(port, quiet)
        blocker.rollback()
    assert {(status, body["code"]) for status, body in (task.result() for task in flood)} == {(503, "OVERLOADED")}
    assert waiting == 0


async def test_a_flood_of_cancels_lets_a_neighbours_order_pass(port: CellPort) -> None:
    noisy, quiet = port.open_user(), port.open_user()
    done: list[str] = []

    def submit(user_id: uuid.UUID, kind: CommandKind, arguments: Arguments) -> asyncio.Future[Any]:
        answer = port.app.batcher.submit(Command(kind, user_id, uuid.uuid4().hex, b"f" * 16, arguments))
        answer.add_done_callback(lambda _: done.append("noisy" if user_id == noisy else "quiet"))
        return answer

    answers = [submit(noisy, CommandKind.CANCEL, CancelArguments(uuid.uuid4())) for _ in range(FLOOD)]
    answers.append(submit(quiet, CommandKind.DEPOSIT, DepositArguments(1_000_000)))
    outcomes = await asyncio.gather(*answers)
    assert [outcome.outcome for outcome in outcomes] == ["ORDER_NOT_FOUND"] * FLOOD + ["accepted"]
    assert done.index("quiet") <= 4


async def test_a_user_has_a_share_of_the_pool_and_who_waits_takes_turns(cell_database: TestDatabase) -> None:
    shares = FairPermits(permits_max=3, permits_per_holder_max=2, waiting_max=10, waiting_per_holder_max=10)
    settings = PostgresSettings(dsn=cell_database.service_dsn)
    greedy, other, third = (uuid.uuid4() for _ in range(3))
    names = {greedy: "greedy", other: "other", third: "third"}
    served: list[str] = []
    leave = {user_id: asyncio.Semaphore(0) for user_id in names}

    async def hold(user_id: uuid.UUID) -> None:
        with on_behalf_of(user_id):
            async with pool.connection(timeout=30):
                served.append(names[user_id])
                await leave[user_id].acquire()

    async def reach(count: int) -> None:
        async def is_reached() -> bool:
            return len(served) == count

        await eventually(is_reached)

    async with make_pool(settings, "test-shares", size=4, shares=shares) as pool, asyncio.timeout(30):
        holding = [asyncio.create_task(hold(greedy)) for _ in range(4)]
        await reach(2)
        holding.append(asyncio.create_task(hold(other)))
        await reach(3)
        holding += [asyncio.create_task(hold(user_id)) for user_id in (other, third)]
        await asyncio.sleep(0.01)
        async with pool.connection(timeout=5) as reserve:  # on behalf of nobody: a batch, a probe
            await reserve.execute("select 1")
        assert (served, shares.waiting) == (["greedy", "greedy", "other"], 4)
        leave[greedy].release()
        await reach(4)
        leave[other].release()
        await reach(5)
        leave[greedy].release()
        await reach(6)
        assert served[3:] == ["other", "third", "greedy"]
        with on_behalf_of(greedy), pytest.raises(PoolBusy):
            async with pool.connection(timeout=0.05):
                pass
        for user_id in names:
            for _ in range(4):
                leave[user_id].release()
        await asyncio.gather(*holding)
    assert (shares.in_use, shares.waiting) == (0, 0)


async def test_a_pool_that_is_in_use_is_no_dead_database(cell_database: TestDatabase) -> None:
    async with make_pool(PostgresSettings(dsn=cell_database.service_dsn, connect_timeout_s=0.1), "t", size=1) as pool:
        async with pool.connection(timeout=10):
            with pytest.raises(ConnectionsTaken):
                await call(pool, "select 1", [])
        assert await call(pool, "select 1", []) == [(1,)]


async def test_commands_that_find_no_free_connection_wait_and_are_not_taken_for_lost(
    port: CellPort, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batching, "CONNECTION_WAIT_S", 0.05)
    user_id, pool = port.open_user(), port.app.pool
    with caplog.at_level(logging.WARNING, logger="cell"):
        async with AsyncExitStack() as taken:
            for _ in range(pool.max_size):
                await taken.enter_async_context(pool.connection(timeout=20))
            order = asyncio.create_task(port.ask(user_id, "POST", "/v1/orders", ORDER))

            async def has_tried_twice() -> bool:
                return pool.get_stats().get("requests_errors", 0) >= 2

            await eventually(has_tried_twice)
            assert not order.done()
        assert (await order)[0] == 201
    assert [record.message for record in caplog.records] == []
