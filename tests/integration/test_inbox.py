"""The inbox takes whatever a venue says: what cannot be stored as it came is kept aside, and stops nothing."""

import asyncio
import uuid

import psycopg
import pytest

from cell.executions.exchange_venue import ExchangeVenue
from cell.executions.inbox import Inbox
from cell.executions.metrics import WORKER_METRICS
from cell.executions.report import read_report
from cell.executions.wire import Report, decode_body
from infra.runtime.clock import SystemClock
from infra.runtime.database import make_pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually

pytestmark = pytest.mark.anyio

ODDITIES = [
    b'"reason": "plain"',
    b'"reason": "\\u0000"',
    b'"reason": "\xff\xfe"',
    b'"last_px": 1e999999',
    b'"last_qty": "many", "exec_id": "e"',
    b'"reason": "plain again"',
]


async def test_a_report_that_no_column_can_hold_is_quarantined_and_the_next_ones_come_in(
    cell_database: TestDatabase,
) -> None:
    reports = []
    for seq, oddity in enumerate(ODDITIES, start=1):
        body = b'{"t": "report", "seq": %d, "kind": "fill", "cl_ord_id": "%s", %s}'
        body %= (seq, str(uuid.uuid4()).encode(), oddity)
        message = decode_body(body)
        assert isinstance(message, Report)
        reports.append(read_report(message, body))
    pool = make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test")
    inbox = Inbox(
        pool,
        ExchangeVenue("127.0.0.1:1", "cell-1"),
        cell="cell-1",
        clock=SystemClock(),
        metrics=Metrics(WORKER_METRICS),
        fault_points=FaultPoints(),
    )
    async with pool, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(inbox.run_intake()), tasks.create_task(inbox.run_applier())]
        await inbox.put(reports)
        with psycopg.connect(cell_database.auditor_dsn, autocommit=True) as auditor:
            query = "select count(*) from brokerage.quarantined_reports"

            async def all_aside() -> bool:
                return auditor.execute(query).fetchone() == (len(ODDITIES),)

            await eventually(all_aside)
            received = auditor.execute("select received_seq from brokerage.venue_sessions").fetchone()
            assert received == (len(ODDITIES),)
        for task in running:
            task.cancel()
