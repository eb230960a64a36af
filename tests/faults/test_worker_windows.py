"""The worker, or the PostgreSQL under it, killed in every named window between a commit and the venue, and at the
market's open and close: nothing is lost, nothing doubled, cell and exchange agree, the books close."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from cell.trial_balance import run_trial_balance
from exchange.prices import START_PRICES
from tests.support.cell_books import MICROS, CellBooks
from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.killable_postgres import KillablePostgres
from tests.support.venue_books import (
    WorkerProcess,
    agree,
    count_quarantined,
    no_rows,
    opened,
    place,
    rows,
    until,
    venue_orders,
)
from tests.support.windows import Windows

pytestmark = pytest.mark.anyio

ON_THE_WAY = (
    "executions.before_claim",
    "executions.after_claim",
    "executions.after_send",
    "executions.after_inbox_commit",
    "executions.after_apply",
)
AT_THE_OPEN = ("trading_hours.before_release", "trading_hours.after_release")
AT_THE_CLOSE = ("trading_hours.before_expire", "trading_hours.after_expire")
STALL = "stall:1.0"
"""Longer than it takes to see the marker and to kill a server; then the worker goes on, with dead connections."""


class Scene:
    """A worker with windows, and what is killed in them."""

    def __init__(self, victim: str, worker: WorkerProcess, postgres: KillablePostgres, folder: Path) -> None:
        self.worker = worker
        self._postgres = postgres if victim == "postgres" else None
        points = (*ON_THE_WAY, *AT_THE_OPEN, *AT_THE_CLOSE)
        self.windows = Windows(folder, points, "kill" if victim == "worker" else STALL)
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Scene":
        self._keeping = asyncio.create_task(self.worker.keep_running(self.windows.fault_points))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._keeping is not None
        self._keeping.cancel()
        self.worker.end(signal.SIGKILL)

    async def die(self, point: str) -> None:
        """Wait for the window that was opened; the victim dies in it and is started again."""
        starts = self.worker.starts
        await self.windows.met(point)
        if self._postgres is not None:
            await asyncio.to_thread(self._postgres.kill_and_start)
            return
        async with asyncio.timeout(30):
            while self.worker.starts == starts:  # noqa: ASYNC110  # a process of the operating system
                await asyncio.sleep(0.01)


@pytest.fixture(params=["worker", "postgres"])
async def scene(
    request: pytest.FixtureRequest,
    mortal_database: TestDatabase,
    mortal_postgres: KillablePostgres,
    exchange: ExchangeProcess,
    tmp_path: Path,
) -> AsyncIterator[Scene]:
    hours = "always" if "open" not in request.node.name else "XNYS"
    async with Scene(
        request.param, WorkerProcess(mortal_database, exchange, hours), mortal_postgres, tmp_path
    ) as scene:
        yield scene


@asynccontextmanager
async def connected(books: CellBooks, database: TestDatabase) -> AsyncIterator[None]:
    """Books whose server may have died since they were last used."""
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        books.connection = connection
        yield


async def test_a_death_in_any_window_on_the_way_to_the_venue(
    scene: Scene, mortal_database: TestDatabase, exchange: ExchangeProcess
) -> None:
    async with opened(mortal_database) as books:
        pass
    for point in ON_THE_WAY:
        async with connected(books, mortal_database):
            scene.windows.open(point)
            await place(books, len(books.users))  # one call: it has returned when the window is met
            await scene.die(point)
    async with connected(books, mortal_database):
        await agree(books, exchange)
        assert await count_quarantined(books) == {}
        assert await rows(books, "select count(*) from brokerage.orders") == [(len(books.users) * len(ON_THE_WAY),)]
    assert scene.windows.hits == dict.fromkeys(ON_THE_WAY, 1)


async def test_a_death_at_the_open_and_at_the_close(
    scene: Scene, mortal_database: TestDatabase, exchange: ExchangeProcess
) -> None:
    """Queued orders go once; at the close the day orders end and give their funds back, the others stay."""
    async with opened(mortal_database, 8) as books:
        await hold_session(mortal_database, opens="1 hour", closes="2 hours")
        for time_in_force, limit_ppm in (("day", 930_000), ("gtc", 930_000), ("day", 920_000)):
            await queue(books, time_in_force, limit_ppm)
        assert await by_status(books) == {"queued": 24}
        scene.windows.open("trading_hours.before_release")
        await scene.die("trading_hours.before_release")
    scene.windows.open("trading_hours.after_release")
    await hold_session(mortal_database, opens="-1 hour", closes="2 hours")
    await scene.die("trading_hours.after_release")
    async with connected(books, mortal_database):
        await until("everything rests at the venue", lambda: no_rows(books, "select from brokerage.venue_instructions"))
        assert await by_status(books) == {"routed": 24}
        assert len(venue_orders(exchange)) == 24
    scene.windows.open("trading_hours.before_expire")
    await hold_session(mortal_database, opens="-1 hour", closes="-1 second")
    await scene.die("trading_hours.before_expire")
    scene.windows.open("trading_hours.after_expire")
    await scene.die("trading_hours.after_expire")
    async with connected(books, mortal_database):
        await until("day orders have ended", lambda: statuses_are(books, {"expired": 16, "routed": 8}))
        ((held,),) = await rows(books, "select sum(cash_held_micros)::bigint from brokerage.users")
        ((open_holds,),) = await rows(
            books, "select sum(held_cash_micros)::bigint from brokerage.orders where time_in_force = 'gtc'"
        )
        assert held == open_holds > 0
        routed = "select count(*), count(distinct order_id) from brokerage.order_events where to_status = 'routed'"
        assert await rows(books, routed) == [(24, 24)], "released once, sent once"
        trial = await run_trial_balance(books.connection)
        assert trial.healthy, [check for check in trial.checks if check.violations]
    assert scene.windows.hits == dict.fromkeys((*AT_THE_OPEN, *AT_THE_CLOSE), 1)


async def by_status(books: CellBooks) -> dict[str, int]:
    return dict(await rows(books, "select status, count(*) from brokerage.orders group by 1"))


async def statuses_are(books: CellBooks, wanted: dict[str, int]) -> bool:
    return await by_status(books) == wanted


async def hold_session(database: TestDatabase, *, opens: str, closes: str) -> None:
    """Move the market's one session, and with it the orders that wait for it: the test's clock, not the wall's."""
    async with await psycopg.AsyncConnection.connect(database.superuser_dsn, autocommit=True) as superuser:
        await superuser.execute("set search_path = brokerage")
        await superuser.execute(
            "insert into market_sessions values ('2026-11-20', now() + %s::interval, now() + %s::interval) "
            "on conflict (trade_date) do update set opens_at = excluded.opens_at, closes_at = excluded.closes_at",
            [opens, closes],
        )
        await superuser.execute("update queued_orders set release_at = (select opens_at from market_sessions)")
        await superuser.execute(
            "update orders set expires_at = (select closes_at from market_sessions) where expires_at is not null"
        )


PLACE: LiteralString = """
select outcome from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, %s, %s::bigint[], %s::bigint[],
                                              now(), interval '1 hour', p_wait => true, p_market_hours => 'XNYS')
"""


async def queue(books: CellBooks, time_in_force: str, limit_ppm: int) -> None:
    """One buy for everybody, far from the market and inside the price band, waiting for the open."""
    size = len(books.users)
    limit_px = START_PRICES["AAPL"] * limit_ppm // MICROS // 10_000 * 10_000
    made = await rows(
        books, PLACE, books.users, [books.new_id().hex for _ in books.users], [b"f"] * size,
        [None] * size, ["AAPL"] * size, ["buy"] * size, ["limit"] * size,
        [time_in_force] * size, [MICROS] * size, [limit_px] * size,
    )  # fmt: skip
    assert made == [("accepted",)] * size
