"""A column that is moved in a statement alone is noticed by the first call, whatever the statement finds."""

from datetime import date

import psycopg
import pytest

from cell.executions import instruction_queries, report_queries
from cell.outbox import claim
from cell.rows import ColumnsDiffer
from infra.runtime.database import make_pool
from infra.runtime.settings import PostgresSettings
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio


async def test_moved_columns_are_noticed(cell_database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        assert await claim.claim_batch(connection) == []
        moved = claim._CLAIM.replace("e.from_status, e.to_status", "e.to_status, e.from_status")
        monkeypatch.setattr(claim, "_CLAIM", moved)
        with pytest.raises(ColumnsDiffer, match="to_status, from_status"):
            await claim.claim_batch(connection)


async def test_moved_columns_of_the_worker_are_noticed(
    cell_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = instruction_queries._SENT.replace("o.symbol, o.side", "o.side, o.symbol")
    monkeypatch.setattr(instruction_queries, "_SENT", sent)
    applied = report_queries._APPLY.replace("user_id, order_id", "order_id, user_id")
    monkeypatch.setattr(report_queries, "_APPLY", applied)
    async with make_pool(PostgresSettings(dsn=cell_database.service_dsn), "columns", size=1) as pool:
        with pytest.raises(ColumnsDiffer, match="side, symbol"):
            await instruction_queries.sent_instructions(pool, after_id=0, limit=1)
        with pytest.raises(ColumnsDiffer, match="order_id, user_id"):
            await report_queries.apply_reports(pool, [1], settles_on=date(2026, 12, 1))
