"""What the worker samples of its cell: each figure in the case that an operator wants to see it in."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cell.executions.figures import FigureSampling, read_figures
from cell.executions.metrics import WORKER_METRICS
from cell.trial_balance import prove_and_record
from infra.runtime.database import Pool, make_pool
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from tests.support.cell_port import cell_port
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(cell_database: TestDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        yield connection


def cell_pool(database: TestDatabase) -> Pool:
    return make_pool(PostgresSettings(dsn=database.service_dsn), "test-worker", size=3)


async def test_a_quiet_cell_has_nothing_to_show(cell_database: TestDatabase) -> None:
    async with cell_pool(cell_database) as pool:
        figures = await read_figures(pool)
    assert (figures.quarantined, figures.inbox_oldest_age_s, figures.lock_waiters) == (0, 0.0, 0)
    assert (figures.checks_age_s, figures.checks_violations) == (-1.0, 0)


async def test_every_figure_moves(cell_database: TestDatabase, root: psycopg.Connection, tmp_path: Path) -> None:
    root.execute(
        "insert into brokerage.inbox (venue, session, venue_seq, body, received_at) "
        "values ('exchange', 'cell-1', 1, '{}', now() - interval '1 hour')"
    )
    root.execute(
        "insert into brokerage.quarantined_reports (reason, venue, session, venue_seq, body, at) "
        "values ('odd', 'exchange', 'cell-1', 2, '{}', now())"
    )
    async with cell_port(cell_database, tmp_path) as port, cell_pool(cell_database) as pool:
        user_id = port.open_user()
        root.execute("update brokerage.users set cash_micros = cash_micros + 1 where user_id = %s", [user_id])
        async with pool.connection() as connection:
            await prove_and_record(connection)
        with root.transaction():
            root.execute("select 1 from brokerage.users where user_id = %s for update", [user_id])

            async def waiting() -> bool:
                return (await read_figures(pool)).lock_waiters == 1

            deposit = asyncio.create_task(_deposit(pool, user_id))
            await eventually(waiting)
            metrics = Metrics(WORKER_METRICS)
            await FigureSampling(pool, cell="cell-1", metrics=metrics).sample()
        await deposit
    assert_moved(
        metrics.render(),
        "cell_reports_quarantined",
        "cell_inbox_oldest_age_seconds",
        "cell_database_lock_waiters",
        "cell_database_lock_wait_seconds",
        "cell_ledger_checks_age_seconds",
        "cell_ledger_checks_violations",
    )


async def _deposit(pool: Pool, user_id: object) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "select deposit_cash_v1(array[%s::uuid], array['k'], array['f'::bytea], array[1::bigint], true)",
            [user_id],
        )


async def test_an_older_run_of_the_checks_changes_nothing(
    cell_database: TestDatabase, root: psycopg.Connection
) -> None:
    record = "select record_ledger_checks_v1(now() - %s::interval, 30, %s, '{}')"
    async with cell_pool(cell_database) as pool:
        for age, violations in (("1 minute", 0), ("1 hour", 7)):
            async with pool.connection() as connection:
                await connection.execute(record, [age, violations])
        figures = await read_figures(pool)
    assert 59 <= figures.checks_age_s < 600
    assert figures.checks_violations == 0
