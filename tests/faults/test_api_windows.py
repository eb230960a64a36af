"""The app server, or the PostgreSQL under it, killed before the commit of a command and between commit and answer.

The customer repeats with the same key, through another app server. Whether the repeat is marked as a replay proves on
which side of the commit the victim died.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cell.commands.arguments import DepositArguments
from cell.commands.batcher import Batcher, BatcherLimits
from cell.commands.command import Command, CommandKind, procedures
from cell.metrics import TABLE
from cell.trial_balance import run_trial_balance
from infra.runtime.clock import SystemClock
from infra.runtime.database import make_pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.app_server import AppServer, app_server
from tests.support.cutting_proxy import cutting_proxy
from tests.support.databases import TestDatabase
from tests.support.killable_postgres import KillablePostgres
from tests.support.windows import DEADLINE_S, Windows

pytestmark = pytest.mark.anyio

MICROS = 1_000_000
ORDER = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "10.00"}


class Customer:
    def __init__(self, session: aiohttp.ClientSession, keys: Path, user_id: uuid.UUID) -> None:
        self._session = session
        self._signer = RouteTokenSigner(load_key_ring(keys / ROUTE_FILE))
        self._user_id = user_id

    async def ask(self, server: AppServer, method: str, path: str, body: object, key: str) -> tuple[int, bool, Any]:
        """Status, whether it was a replay, body."""
        token = self._signer.sign(user_id=self._user_id, cell_id="cell-1", epoch=1, expires_at_s=int(time.time()) + 60)
        headers = {"X-Route-Token": token, "X-Idempotency-Key": key, "If-Match": "*"}
        async with self._session.request(method, server.url + path, json=body, headers=headers) as answer:
            return answer.status, "idempotency-replayed" in answer.headers, await answer.json(content_type=None)

    async def await_up(self, server: AppServer) -> None:
        ends_at = time.monotonic() + DEADLINE_S
        while True:
            try:
                assert (await self.ask(server, "POST", "/v1/orders", {}, "x"))[0] == 400
                return
            except aiohttp.ClientConnectorError:
                assert time.monotonic() < ends_at, "the app server did not start"
                await asyncio.sleep(0.05)


@pytest.fixture
def user_id(mortal_database: TestDatabase) -> uuid.UUID:
    user_id = uuid.uuid4()
    with psycopg.connect(mortal_database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_reference_prices_v1(array['AAPL'], array[10000000], now())")
        connection.execute("select open_account_v1(%s, 1, 'professional', 'a@example.com', null, 'x')", [user_id])
        connection.execute(
            "select deposit_cash_v1(array[%s]::uuid[], array['d'], array['f'::bytea], array[1000000000])",
            [user_id],
        )
    return user_id


DEATHS: list[tuple[str, str]] = [
    ("batch.before_call", "POST"),
    ("batch.after_commit", "POST"),
    ("batch.after_commit", "PATCH"),
    ("batch.after_commit", "DELETE"),
]


async def test_an_app_server_dies_on_either_side_of_the_commit(
    mortal_database: TestDatabase, user_id: uuid.UUID, tmp_path: Path
) -> None:
    """Placed twice, then replaced, then cancelled: of each the first server dies, and another one answers."""
    keys = tmp_path / "keys"
    generate_key_files(keys)
    windows = Windows(tmp_path, ["batch.before_call", "batch.after_commit"])
    path = "/v1/orders"
    async with aiohttp.ClientSession() as session:
        customer = Customer(session, keys, user_id)
        with app_server(mortal_database, keys) as other:
            await customer.await_up(other)
            for window, method in DEATHS:
                body = {"POST": ORDER, "PATCH": {"qty": "2"}, "DELETE": None}[method]
                key = uuid.uuid4().hex
                with app_server(mortal_database, keys, windows.fault_points) as victim:
                    await customer.await_up(victim)
                    windows.open(window)
                    with pytest.raises(aiohttp.ClientError):
                        await customer.ask(victim, method, path, body, key)
                    await windows.met(window)
                    assert victim.died()
                status, replayed, order = await customer.ask(other, method, path, body, key)
                assert (status // 100, replayed) == (2, window == "batch.after_commit"), order
                path = f"/v1/orders/{order['order_id']}"
                if window == "batch.before_call":
                    path = "/v1/orders"
    assert windows.hits == {"batch.before_call": 1, "batch.after_commit": 3}
    assert order["status"] == "cancelled"
    async with await psycopg.AsyncConnection.connect(mortal_database.service_dsn, autocommit=True) as connection:
        held = await (await connection.execute("select cash_micros, cash_held_micros from brokerage.users")).fetchone()
        assert held == (990 * MICROS, 10 * MICROS), "one order is left"
    await proven(mortal_database)


LIMITS = BatcherLimits(batch_max=64, calls_max=2, queue_max=200, user_queue_max=8, command_deadline_s=DEADLINE_S)


@asynccontextmanager
async def batcher_on(dsn: str) -> AsyncIterator[Batcher]:
    pool = make_pool(PostgresSettings(dsn=dsn, statement_timeout_ms=60_000), "test-batcher")
    calls = procedures(accept_transfers=True, reference_age_max_s=60.0)
    await pool.open()
    try:
        async with Batcher(
            pool, calls, LIMITS, clock=SystemClock(), metrics=Metrics(TABLE), faults=FaultPoints({})
        ) as batcher:
            yield batcher
    finally:
        await pool.close()


KEY = "a key of its own"
"""On the wire it comes with the execution, the procedure's name already with the preparation of the statement."""


def deposit(user_id: uuid.UUID) -> Command:
    return Command(CommandKind.DEPOSIT, user_id, KEY, b"f" * 16, DepositArguments(5 * MICROS))


async def balance(database: TestDatabase) -> int:
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        row = await (await connection.execute("select cash_micros from brokerage.users")).fetchone()
    assert row is not None
    return int(row[0])


SLOW_COMMIT = """
create function brokerage.dawdle() returns trigger language plpgsql as
    $$ begin perform pg_sleep(30); return null; end $$;
grant execute on function brokerage.dawdle() to public;
create trigger dawdle after insert on brokerage.outbox for each statement execute function brokerage.dawdle();
"""


async def test_postgres_dies_before_the_commit(
    mortal_database: TestDatabase, mortal_postgres: KillablePostgres, user_id: uuid.UUID
) -> None:
    """Everything is written and not committed: nothing of it is there afterwards, and the same key does it once."""
    before = await balance(mortal_database)
    with psycopg.connect(mortal_database.superuser_dsn, autocommit=True) as superuser:
        superuser.execute(SLOW_COMMIT)
    async with batcher_on(mortal_database.service_dsn) as batcher:
        waiting = batcher.submit(deposit(user_id))
        async with await psycopg.AsyncConnection.connect(mortal_database.superuser_dsn, autocommit=True) as superuser:
            dawdling = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
            async with asyncio.timeout(DEADLINE_S):
                while await (await superuser.execute(dawdling)).fetchone() != (1,):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await asyncio.to_thread(mortal_postgres.kill_and_start)
        assert not waiting.done()
        with psycopg.connect(mortal_database.superuser_dsn, autocommit=True) as superuser:
            superuser.execute("drop function brokerage.dawdle cascade")
        outcome = await waiting
    assert (outcome.outcome, outcome.replayed) == ("accepted", False)
    assert await balance(mortal_database) == before + 5 * MICROS
    await proven(mortal_database)


async def test_postgres_dies_after_the_commit_and_before_its_reply(
    mortal_database: TestDatabase, mortal_postgres: KillablePostgres, user_id: uuid.UUID
) -> None:
    before = await balance(mortal_database)
    address = conninfo_to_dict(mortal_database.service_dsn)
    async with cutting_proxy(str(address["host"]), int(str(address["port"]))) as proxy:
        dsn = mortal_database.service_dsn.replace(f":{address['port']}/", f":{proxy.port}/")
        async with batcher_on(dsn) as batcher:
            proxy.armed_by, proxy.replies_to_lose = KEY.encode(), 1_000
            waiting = batcher.submit(deposit(user_id))
            async with asyncio.timeout(DEADLINE_S):
                while not proxy.lost:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            await asyncio.to_thread(mortal_postgres.kill)
            proxy.replies_to_lose = 0
            assert not waiting.done()
            await asyncio.to_thread(mortal_postgres.start)
            outcome = await waiting
    assert (outcome.outcome, outcome.replayed) == ("accepted", True), "the first one was committed"
    assert await balance(mortal_database) == before + 5 * MICROS
    await proven(mortal_database)


async def proven(database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        trial = await run_trial_balance(connection)
        assert trial.healthy, [check for check in trial.checks if check.violations]
