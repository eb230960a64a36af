"""Connections that died in their sleep: found together, by nobody's request, and no probe is misled by one."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from infra.runtime.database import Pool, answers, make_pool
from infra.runtime.pool import PoolBusy
from infra.runtime.procedures import call
from infra.runtime.redis_client import make_redis
from infra.runtime.settings import PostgresSettings, RedisSettings
from tests.support.asgi import ask_asgi
from tests.support.cell_port import cell_port
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.killable_postgres import KillablePostgres
from tests.support.redis_server import redis_server
from tests.support.tcp_proxy import READ_BYTES, Conversation, tcp_proxy

pytestmark = pytest.mark.anyio
RESTING = 5


async def fill(pool: Pool, count: int = RESTING) -> set[int]:
    """So many connections that rest in the pool; the server's names for them."""
    pids = set()
    async with AsyncExitStack() as stack:
        for _ in range(count):
            connection = await stack.enter_async_context(pool.connection(timeout=20))
            pids.add(connection.info.backend_pid)
    assert len(pids) == count
    return pids


async def test_after_a_restart_no_request_meets_a_connection_of_the_dead_server(
    mortal_postgres: KillablePostgres, mortal_database: TestDatabase, tmp_path: Path
) -> None:
    """Customers, operators and the probe, each first after the restart."""
    async with cell_port(mortal_database, tmp_path) as port:
        user_id = port.open_user()
        for first in ("customers", "probe"):
            await fill(port.app.pool)
            await fill(port.app.operator_pool, 2)
            await asyncio.to_thread(mortal_postgres.kill_and_start)
            if first == "probe":
                status, _, facts = await ask_asgi(port.app.operator, "GET", "/health/ready")
                assert (status, facts["database"]) == (200, True)
            asked = [("GET", "/v1/account"), ("GET", "/v1/orders")] * RESTING
            got = await asyncio.gather(*(port.ask(user_id, method, target) for method, target in asked))
            assert Counter(status for status, _ in got) == {200: len(asked)}
            assert (await port.ask(user_id, "POST", "/v1/deposits", {"amount": "1"}))[0] == 201
            assert (await ask_asgi(port.app.operator, "GET", "/health/ready"))[0] == 200
            assert await call(port.app.operator_pool, "select 1", []) == [(1,)]


async def test_a_server_that_was_away_is_found_by_the_first_who_asks(
    mortal_postgres: KillablePostgres, mortal_database: TestDatabase
) -> None:
    """While it is away the pool tries in vain and pauses, longer each time; nobody has to wait for the pause to end."""
    settings = PostgresSettings(dsn=mortal_database.service_dsn)
    async with make_pool(settings, "test-away") as pool:
        await fill(pool)
        await asyncio.to_thread(mortal_postgres.kill)
        try:
            assert not await answers(pool, 0.5)

            async def pauses() -> bool:
                return len(pool._later) > 0

            await eventually(pauses)
        finally:
            await asyncio.to_thread(mortal_postgres.start)
        assert await answers(pool, 20)
        await fill(pool)


class Forgetful:
    """A firewall on the way: it forgets the connections that there are, and drops what is sent on them, silently."""

    def __init__(self) -> None:
        self.memory = 0

    def ways(self, of: Conversation) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        return self._pass(of.reader, of.up_writer, self.memory), self._pass(of.up_reader, of.writer, self.memory)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: int) -> None:
        while data := await reader.read(READ_BYTES):
            if memory == self.memory:
                writer.write(data)
                await writer.drain()


async def test_one_that_is_silent_has_its_sisters_asked_and_does_not_mislead_the_probe(
    cell_database: TestDatabase,
) -> None:
    """They look well until they are used."""
    info = conninfo_to_dict(cell_database.service_dsn)
    firewall = Forgetful()
    async with tcp_proxy(str(info["host"]), int(str(info["port"])), firewall.ways) as port:
        dsn = cell_database.service_dsn.replace(f":{info['port']}", f":{port}")
        async with make_pool(PostgresSettings(dsn=dsn), "test-silent") as pool:
            old = await fill(pool)
            firewall.memory += 1
            assert await answers(pool, 20)
            async with asyncio.timeout(20):
                assert await fill(pool, pool.max_size) & old == set()


async def test_those_that_are_well_are_lent_again_after_they_have_answered(cell_database: TestDatabase) -> None:
    async with make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test-well") as pool:
        old = await fill(pool)
        async with pool.connection() as broken:
            gone = broken.info.backend_pid
            broken.pgconn.finish()  # it breaks in use
        assert len(pool._pool) == 0  # nobody gets one of them before it has answered
        # The pool may grow while they are examined; filled to its bound, it still has every one that was well.
        assert old - {gone} <= await fill(pool, pool.max_size)


async def test_a_pool_in_use_is_said_to_be_in_use_also_after_its_server_was_away(
    mortal_postgres: KillablePostgres, mortal_database: TestDatabase
) -> None:
    async with make_pool(PostgresSettings(dsn=mortal_database.service_dsn), "test-use", size=2) as pool:
        await fill(pool, 2)
        await asyncio.to_thread(mortal_postgres.kill_and_start)
        async with pool.connection(timeout=20), pool.connection(timeout=20):
            with pytest.raises(PoolBusy):
                async with pool.connection(timeout=0.05):
                    pass
        assert pool._lent == 0


async def test_a_redis_that_was_restarted_fails_no_reading() -> None:
    with redis_server() as first:
        client = make_redis(RedisSettings(url=first.url, timeout_s=5.0))
        try:
            names = [uuid.uuid4().hex for _ in range(RESTING)]
            await asyncio.gather(*(client.set(name, b"x") for name in names))
            await asyncio.to_thread(first.kill)
            await asyncio.to_thread(first.start)
            assert [await client.get(name) for name in names] == [None] * RESTING
            assert await asyncio.gather(*(client.get(name) for name in names)) == [None] * RESTING
        finally:
            await client.aclose()
