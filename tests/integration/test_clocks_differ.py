"""Clocks that differ: app servers and worker of a cell agree on the session, for its database says what time it is."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cell.app import CellApp, create_app
from cell.executions.database_clock import DatabaseClock
from cell.executions.metrics import WORKER_METRICS
from cell.executions.queries import write_sessions
from cell.executions.trading_hours import TradingHours
from cell.settings import CellSettings
from infra.runtime.database import Pool, make_pool
from infra.runtime.market_calendar import xnys_sessions
from infra.runtime.settings import ClockSettings, PostgresSettings
from infra.runtime.sql_files import read_sql
from infra.runtime.telemetry import Metrics
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio

OPENS = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
CLOSES = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
SKEW = timedelta(minutes=10)
"""Far more than any two machines differ, so that no busy moment of the machine decides the test."""
BESIDE = timedelta(minutes=5)
ORDER = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "100"}


def offset_s(at: datetime) -> float:
    return (at - datetime.now(UTC)).total_seconds()


@pytest.fixture
def calendar(cell_database: TestDatabase) -> Iterator[TestDatabase]:
    asyncio.run(write_sessions(cell_database.owner_dsn, xnys_sessions([2026]), datetime(2026, 1, 1, tzinfo=UTC)))
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
        root.execute("update brokerage.market_sessions set expired_at = closes_at where closes_at < %s", [OPENS])
        root.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        yield cell_database
        for check in read_sql("cell", "checks"):
            assert root.execute(check.text).fetchall() == [], check.name


@pytest.fixture
async def servers(calendar: TestDatabase, tmp_path: Path) -> AsyncIterator[Callable[[datetime], Any]]:
    """Two app servers on a database where it is some moment: one's own clock is ahead, the other's behind."""
    generate_key_files(tmp_path)
    async with AsyncExitStack() as stack:

        async def start(at: datetime) -> list[tuple[CellApp, RouteTokenSigner, int]]:
            apps = []
            for skew in (SKEW, -SKEW):
                settings = CellSettings(
                    name="cell-1", postgres=PostgresSettings(dsn=calendar.service_dsn), keys_dir=tmp_path,
                    clock=ClockSettings(offset_s=offset_s(at + skew)),
                )  # fmt: skip
                settings.postgres = settings.postgres.model_copy(update={"clock_offset_s": offset_s(at)})
                app = create_app(settings)
                await stack.enter_async_context(app.running())
                signer = RouteTokenSigner(load_key_ring(tmp_path / ROUTE_FILE))
                apps.append((app, signer, int(time.time() + settings.clock.offset_s) + 60))
            return apps

        yield start


async def ask(
    server: tuple[CellApp, RouteTokenSigner, int], user_id: uuid.UUID, path: str, body: object
) -> tuple[int, Any]:
    app, signer, expires_at_s = server
    token = signer.sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=expires_at_s)
    headers = {"X-Route-Token": token, "X-Idempotency-Key": uuid.uuid4().hex}
    status, _, said = await ask_asgi(app.customer, "POST", path, body, headers=headers)
    return status, said


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (OPENS - BESIDE, "queued"),
        (OPENS + BESIDE, "funds_held"),
        (CLOSES - BESIDE, "funds_held"),
        (CLOSES + BESIDE, "queued"),
    ],
)
async def test_two_app_servers_agree_on_the_session(
    servers: Callable[[datetime], Any], at: datetime, status: str
) -> None:
    user_id, both = uuid.uuid4(), await servers(at)
    account = {"email": "a@example.com", "password": "correct horse"}
    assert (await ask(both[0], user_id, "/internal/v1/accounts", account))[0] == 201
    assert (await ask(both[0], user_id, "/v1/deposits", {"amount": "1000"}))[0] == 201
    for server in both:
        got, order = await ask(server, user_id, "/v1/orders", ORDER)
        assert (got, order["status"]) == (201, status)
        assert abs(datetime.fromisoformat(order["created_at"]) - at) < BESIDE, "recorded by the database's clock too"
        got, answer = await ask(server, user_id, "/v1/orders", {**ORDER, "time_in_force": "ioc"})
        assert (got, answer.get("code", "placed")) == (
            (422, "MARKET_CLOSED") if status == "queued" else (201, "placed")
        )
        got, preview = await ask(server, user_id, "/v1/orders/preview", {**ORDER, "time_in_force": "fok"})
        assert (got, preview["would_accept"]) == (200, status != "queued")


async def test_a_worker_opens_and_closes_by_the_databases_clock(calendar: TestDatabase) -> None:
    """Whatever its machine believes: this one's own clock is days away from the session."""

    async def keep(pool: Pool, clock: DatabaseClock) -> None:
        await clock.read(pool)
        hours = TradingHours(pool, cell="cell-1", market_hours="XNYS", clock=clock, metrics=Metrics(WORKER_METRICS))
        await hours.keep()

    with psycopg.connect(calendar.superuser_dsn, autocommit=True) as root:
        for moment, before, after in ((OPENS, "queued", "funds_held"), (CLOSES, "funds_held", "expired")):
            for at, wanted in ((moment - BESIDE, before), (moment + BESIDE, after)):
                dsn = PostgresSettings(dsn=calendar.service_dsn, clock_offset_s=offset_s(at))
                async with make_pool(dsn, "test-worker", size=1) as pool:
                    if (moment, at) == (OPENS, OPENS - BESIDE):
                        await _one_order(pool)
                    await keep(pool, DatabaseClock(time.monotonic))
                assert root.execute("select status from brokerage.orders").fetchall() == [(wanted,)], at


async def test_the_clock_is_never_ahead_of_the_database_and_believes_one_that_was_put_back(
    calendar: TestDatabase,
) -> None:
    clock = DatabaseClock(time.monotonic)
    for shift in (timedelta(0), -timedelta(hours=1)):
        settings = PostgresSettings(dsn=calendar.service_dsn, clock_offset_s=shift.total_seconds())
        async with make_pool(settings, "test-worker", size=1) as pool:
            for _ in range(8):
                await clock.read(pool)
            ours = clock.now()
            async with pool.connection() as connection:
                row = await (await connection.execute("select clock_v1()")).fetchone()
        assert row is not None
        assert timedelta(0) <= row[0] - ours < timedelta(minutes=5)


async def _one_order(pool: Pool) -> None:
    user_id = uuid.uuid4()
    async with pool.connection() as connection:
        await connection.execute("select 1 from open_account_v1(%s, 1, 'retail', 'b', null, 'x')", [user_id])
        await connection.execute(
            "select 1 from deposit_cash_v1(%s, array['k'], array['f'::bytea], array[1000000000::bigint])",
            [[user_id]],
        )
        cursor = await connection.execute(
            "select outcome from place_orders_v1(%s, array['o'], array['f'::bytea], array[null::text], "
            "array['AAPL'], array['buy'], array['limit'], array['day'], array[1000000::bigint], "
            "array[100000000::bigint], null, interval '1 hour', p_market_hours => 'XNYS')",
            [[user_id]],
        )
        assert await cursor.fetchone() == ("accepted",)
