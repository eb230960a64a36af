"""What an app server counts of its commands, each in the case it is for."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from infra.runtime.clock import SystemClock
from infra.runtime.database import Pool
from infra.runtime.on_behalf import on_behalf_of
from infra.runtime.pool import PoolBusy
from tests.support.asgi import ask_asgi
from tests.support.cell_port import CellPort, cell_port
from tests.support.cutting_proxy import cutting_proxy
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved

pytestmark = pytest.mark.anyio


async def deposit(port: CellPort, user_id: uuid.UUID, key: str = "") -> int:
    expires_at_s = int(SystemClock().epoch_s()) + 60
    token = port.signer.sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=expires_at_s)
    headers = {"x-route-token": token, "x-idempotency-key": key or uuid.uuid4().hex}
    status, _, _ = await ask_asgi(port.app.customer, "POST", "/v1/deposits", {"amount": "5"}, headers=headers)
    return status


async def count(port: CellPort, sample: str) -> float:
    """The sum over its labels."""
    families = port.app.metrics.registry.collect()
    return sum(each.value for family in families for each in family.samples if each.name == sample)


@pytest.fixture
async def port(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[CellPort]:
    async with cell_port(cell_database, tmp_path) as port:
        yield port


@pytest.fixture
def root(cell_database: TestDatabase) -> Any:
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        yield connection


async def test_what_was_answered_and_what_was_answered_before(port: CellPort) -> None:
    user_id = port.open_user()
    assert [await deposit(port, user_id, "one") for _ in range(2)] == [201, 201]
    assert_moved(
        port.app.metrics.render(),
        "cell_commands_total",
        "cell_commands_replayed_total",
        "cell_batch_commands",
        "cell_batch_seconds",
    )


async def test_commands_of_a_locked_user_wait_and_are_deferred(port: CellPort, root: Any) -> None:
    user_id = port.open_user()

    async def is_deferred() -> bool:
        return await count(port, "cell_commands_deferred_total") > 0

    with root.transaction():
        root.execute("select 1 from brokerage.users where user_id = %s for update", [user_id])
        waiting = asyncio.create_task(deposit(port, user_id))
        await eventually(is_deferred)
        assert_moved(port.app.metrics.render(), "cell_commands_deferred_total", "cell_commands_waiting")
    assert await waiting == 201


async def test_a_batch_that_fails_is_split(port: CellPort, root: Any) -> None:
    """One user's next entry is already there, so the whole call fails."""
    poisoned, *others = [port.open_user() for _ in range(8)]
    root.execute(
        "insert into brokerage.journal_entries "
        "select user_id, entry_seq + 1, gen_random_uuid(), 'deposit', null, now(), '', '' "
        "from brokerage.users where user_id = %s",
        [poisoned],
    )
    statuses = await asyncio.gather(*(deposit(port, user_id) for user_id in (poisoned, *others)))
    assert statuses == [500, *[201] * len(others)]
    assert_moved(port.app.metrics.render(), "cell_batches_split_total")


async def test_a_batch_whose_answer_was_lost_is_sent_again(cell_database: TestDatabase, tmp_path: Path) -> None:
    address = conninfo_to_dict(cell_database.service_dsn)
    async with cutting_proxy(str(address["host"]), int(str(address["port"]))) as proxy:
        dsn = cell_database.service_dsn.replace(f":{address['port']}/", f":{proxy.port}/")
        async with cell_port(cell_database, tmp_path, dsn=dsn) as port:
            user_id = port.open_user()
            proxy.armed_by, proxy.replies_to_lose = b"lost-key", 1
            assert await deposit(port, user_id, "lost-key") == 201
            assert_moved(port.app.metrics.render(), "cell_batches_resent_total")


async def test_a_batch_without_a_connection_waits(cell_database: TestDatabase, tmp_path: Path) -> None:
    async with cell_port(cell_database, tmp_path, command_deadline_s=2.0) as port:
        user_id = port.open_user()
        await port.app.pool.close()
        assert await deposit(port, user_id) == 503
        assert_moved(port.app.metrics.render(), "cell_batches_unconnected_total")


async def test_requests_are_counted_by_route_and_answer(port: CellPort) -> None:
    user_id = port.open_user()
    order = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "100"}
    placed, body = await port.ask(user_id, "POST", "/v1/orders", order)
    refused, _ = await port.ask(user_id, "POST", "/v1/orders", {})
    cancelled, _ = await port.ask(user_id, "DELETE", f"/v1/orders/{body['order_id']}")
    shown, _ = await port.ask(user_id, "GET", "/v1/positions")
    assert (placed, refused // 100, cancelled // 100, shown) == (201, 4, 2, 200)
    rendered = port.app.metrics.render()
    for sample in (
        'cell_requests_total{result="2xx",route="place"} 1.0',
        'cell_requests_total{result="4xx",route="place"} 1.0',
        'cell_requests_total{result="2xx",route="cancel"} 1.0',
        'cell_requests_total{result="2xx",route="other"} 1.0',
        'cell_request_seconds_count{route="place"} 2.0',
        'cell_request_seconds_bucket{le="0.5",route="place"}',
    ):
        assert sample in rendered.decode(), sample
    assert_moved(
        rendered, "cell_requests_total", "cell_request_seconds", "cell_pool_connections", "cell_pool_connections_idle"
    )


async def test_waits_for_a_connection_are_counted(cell_database: TestDatabase, tmp_path: Path) -> None:
    async with cell_port(cell_database, tmp_path, user_connections_max=1) as port:
        user_id, pool = port.open_user(), port.app.operator_pool
        lent = [await pool.getconn() for _ in range(pool.max_size)]
        late = asyncio.create_task(pool.getconn(timeout=60))

        async def waits() -> bool:
            return await count(port, "cell_pool_requests_waiting") > 0

        await eventually(waits)
        assert_moved(port.app.metrics.render(), "cell_pool_requests_waiting")
        await pool.putconn(lent.pop())
        lent.append(await late)
        with pytest.raises(PoolBusy):
            await pool.getconn(timeout=0.01)
        for connection in lent:
            await pool.putconn(connection)

        customers = port.app.pool
        with on_behalf_of(user_id):
            async with customers.connection():
                second = asyncio.create_task(ask_once(customers))
                await eventually(lambda: share_waits(port))
                assert_moved(port.app.metrics.render(), "cell_pool_share_waiting")
            await second
        assert_moved(
            port.app.metrics.render(),
            "cell_pool_waits_total",
            "cell_pool_wait_seconds_total",
            "cell_pool_refusals_total",
        )


async def ask_once(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("select 1")


async def share_waits(port: CellPort) -> bool:
    return await count(port, "cell_pool_share_waiting") > 0
