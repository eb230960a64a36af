"""One worker and one relay per cell: who may lead, how a lead ends, and what it costs vacuum."""

from typing import Any, LiteralString

import psycopg
import pytest

from cell.leadership import Task, check, leading
from infra.runtime.database import Connection, make_pool
from infra.runtime.procedures import DatabaseAway
from infra.runtime.settings import PostgresSettings
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio

_IDLE: LiteralString = (
    "select state, backend_xid::text, backend_xmin::text from pg_stat_activity where pid = %s and state <> 'active'"
)


async def connect(database: TestDatabase) -> Connection:
    return await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True)


@pytest.mark.parametrize("task", list(Task))
async def test_one_leads_and_the_next_takes_over_when_its_session_ends(
    cell_database: TestDatabase, root: psycopg.Connection[Any], task: Task
) -> None:
    async with await connect(cell_database) as first, await connect(cell_database) as second:
        async with leading(first, task) as leads:
            assert leads
            async with leading(second, task) as second_leads:
                assert not second_leads
            others = [other for other in Task if other is not task]
            async with leading(second, others[0]) as other_leads:
                assert other_leads, "another task has another leader"
        async with leading(second, task) as leads_now:
            assert leads_now, "it ended with the block"
        async with leading(first, task) as leads:
            assert leads
            ended = root.execute("select pg_terminate_backend(%s, 5000)", [first.info.backend_pid]).fetchone()
            assert ended == (True,)
            async with leading(second, task) as leads_now:
                assert leads_now, "it ended with the session"
            with pytest.raises(DatabaseAway):
                await check(first)


async def test_a_lead_holds_back_no_vacuum(cell_database: TestDatabase, root: psycopg.Connection[Any]) -> None:
    """Neither a snapshot nor a transaction number of its own; nor does vacuum wait for its lock."""
    async with await connect(cell_database) as connection, leading(connection, Task.WORKER) as leads:
        assert leads
        await check(connection)
        row = root.execute(_IDLE, [connection.info.backend_pid]).fetchone()
        assert row == ("idle in transaction", None, None)
        root.execute("set lock_timeout = '5s'")
        root.execute("vacuum (freeze)")


async def test_a_lead_outlasts_the_limits_on_idle_transactions(cell_database: TestDatabase) -> None:
    async with await connect(cell_database) as connection:
        await connection.execute("set idle_in_transaction_session_timeout = '1s'")
        await connection.execute("set transaction_timeout = '1s'")
        async with leading(connection, Task.RELAY) as leads:
            assert leads
            cursor = await connection.execute(
                "select current_setting('idle_in_transaction_session_timeout'), current_setting('transaction_timeout')"
            )
            assert await cursor.fetchone() == ("0", "0")


async def test_the_auditor_can_neither_lead_nor_be_in_the_way(cell_database: TestDatabase) -> None:
    with psycopg.connect(cell_database.auditor_dsn, autocommit=True) as auditor:
        auditor.execute("set default_transaction_read_only = off")
        for statement in (
            "select take_leadership_v1('worker')",
            "begin; lock table brokerage.leadership_of_worker in exclusive mode",
            "begin; lock table brokerage.leadership_of_worker in row share mode",
            "begin; lock table brokerage.leadership_of_worker in access share mode",
            "select pg_try_advisory_lock(1702389091)",  # the key of an older release
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                auditor.execute(statement)
            auditor.execute("rollback")
        # what the auditor can hold: a reader's lock on everything that it may read
        auditor.execute("begin isolation level repeatable read")
        for (table,) in auditor.execute(
            "select format('brokerage.%I', relname) from pg_class where relnamespace = 'brokerage'::regnamespace"
            " and relkind in ('r', 'v') and has_any_column_privilege(oid, 'select')"
        ).fetchall():
            auditor.execute(psycopg.sql.SQL("select count(*) from ") + psycopg.sql.SQL(table))
        async with await connect(cell_database) as connection:
            for task in Task:
                async with leading(connection, task) as leads:
                    assert leads


async def test_a_pooled_connection_is_as_it_was_after_a_lead(cell_database: TestDatabase) -> None:
    """The pool's own settings, prepared statements among them, go with it."""
    pool = make_pool(PostgresSettings(dsn=cell_database.service_dsn), "leader", size=1)
    async with pool:
        for _ in range(2):
            async with pool.connection() as connection, leading(connection, Task.WORKER) as leads:
                assert leads
        async with pool.connection() as connection:
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
