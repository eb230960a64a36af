"""The pool lends the connection that was returned last: a warm server process instead of the coldest one.

It leans on how psycopg_pool keeps its idle connections, so an upgrade of the library must not change it unseen.
"""

import pytest

from infra.runtime.database import Connection, Pool, make_pool
from infra.runtime.settings import PostgresSettings
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio


async def pid_of(connection: Connection) -> int:
    row = await (await connection.execute("select pg_backend_pid()")).fetchone()
    assert row is not None
    return int(row[0])


async def pid_of_next(pool: Pool) -> int:
    async with pool.connection() as connection:
        return await pid_of(connection)


async def test_the_connection_returned_last_is_lent_first(cell_database: TestDatabase) -> None:
    async with make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test-pool", size=4) as pool:
        async with pool.connection() as first:
            warm = await pid_of(first)
            async with pool.connection() as second, pool.connection() as third:
                others = {await pid_of(second), await pid_of(third)}
        assert len({warm, *others}) == 3
        assert {await pid_of_next(pool) for _ in range(10)} == {warm}


async def test_a_burst_still_gets_every_connection_and_a_lost_one_is_replaced(cell_database: TestDatabase) -> None:
    async with make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test-pool", size=2) as pool:
        async with pool.connection() as lost:
            gone = await pid_of(lost)
            await lost.close()
        async with pool.connection() as first, pool.connection() as second:
            pids = {await pid_of(first), await pid_of(second)}
        assert len(pids) == 2
        assert gone not in pids
