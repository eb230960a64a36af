"""A venue takes an order and says nothing: asked, cancelled, escalated, the funds held; then it speaks again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from cell.executions import exchange_venue
from cell.executions.exchange_venue import ExchangeVenue
from cell.executions.inbox import Inbox
from cell.executions.instruction_sender import InstructionSender
from cell.executions.metrics import WORKER_METRICS
from cell.executions.report_queries import received_seq
from cell.executions.sweep import CANCEL_AT_TRY, STUCK_AT_TRY, STUCK_PERIOD_S, UNANSWERED_AFTER_S, StuckSweep
from cell.executions.venue import VenueListener
from cell.operations.queries import SUMMARY, read_one
from infra.runtime.cancelling import cancel_all
from infra.runtime.clock import SystemClock
from infra.runtime.database import Pool, make_pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from tests.support.cell_books import CellBooks
from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.later_clock import LaterClock
from tests.support.venue_books import agree, no_rows, opened, place, rows, until

pytestmark = pytest.mark.anyio
SILENCE = b'{"silent_rate": 1, "silent_ms": 3600000}'


class Desk:
    """A worker's parts, its sweep in the test's hand."""

    def __init__(self, pool: Pool, venue: ExchangeVenue) -> None:
        self.pool, self.metrics, self.clock = pool, Metrics(WORKER_METRICS), LaterClock()
        cell, clock, metrics, points = "cell-1", SystemClock(), self.metrics, FaultPoints()
        self.inbox = Inbox(pool, venue, cell=cell, clock=clock, metrics=metrics, fault_points=points)
        self.sender = InstructionSender(pool, venue, cell=cell, metrics=metrics, fault_points=points)
        self.sweep = StuckSweep(pool, venue, self.sender.send, cell=cell, clock=self.clock, metrics=metrics)

    async def try_again(self, after_s: float = UNANSWERED_AFTER_S) -> None:
        self.clock.after += timedelta(seconds=after_s + 1)
        await self.sweep.sweep()

    async def stuck(self) -> tuple[int, int]:
        """As the metric and as the summary say it."""
        summary = await read_one(self.pool, SUMMARY)
        gauge: Any = self.metrics.gauge("cell_orders_stuck").labels("cell-1")
        assert summary is not None
        return int(gauge._value.get()), int(summary["orders_stuck"])


@asynccontextmanager
async def working(database: TestDatabase, exchange: ExchangeProcess) -> AsyncIterator[Desk]:
    async with make_pool(PostgresSettings(dsn=database.service_dsn), "test-silent", size=5) as pool:
        venue = ExchangeVenue(f"127.0.0.1:{exchange.port}", "cell-1")
        desk = Desk(pool, venue)
        listener = VenueListener(
            received_seq=lambda: received_seq(pool, venue.name, venue.session),
            on_reports=desk.inbox.put,
            on_prices=lambda prices, bands, number: None,
        )
        loops = (venue.run(listener), desk.sender.run(), desk.inbox.run_intake(), desk.inbox.run_applier())
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield desk
        finally:
            await cancel_all(tasks)


async def by_status(books: CellBooks) -> dict[str, int]:
    return dict(await rows(books, "select status, count(*) from brokerage.orders group by 1"))


async def held(books: CellBooks) -> list[tuple[Any, ...]]:
    return await rows(
        books,
        "select (select sum(cash_held_micros)::bigint from brokerage.users), "
        "(select sum(qty_held_micros)::bigint from brokerage.positions)",
    )


@pytest.mark.parametrize("how", ["switched off", "after a restart of both"])
async def test_silence_is_met_with_questions_a_cancel_and_an_alarm_and_ends_well(
    cell_database: TestDatabase,
    exchange: ExchangeProcess,
    how: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange_venue, "ANSWER_TIMEOUT_S", 0.2)  # the real one only makes each question slower
    assert exchange.operate("POST", "/operator/v1/faults", SILENCE)[0] == 200
    async with opened(cell_database, 4) as books:
        async with working(cell_database, exchange) as desk:
            await place(books, 4, away_ppm=-60_000)
            funds = await held(books)
            await until(
                "sent", lambda: no_rows(books, "select from brokerage.venue_instructions where sent_at is null")
            )
            for _ in range(CANCEL_AT_TRY - 1):
                await desk.try_again()
            assert await by_status(books) == {"routed": 4}, "asked, and sent by nobody a second time"
            await desk.try_again()
            assert await by_status(books) == {"pending_cancel": 4}
            await until(
                "told", lambda: no_rows(books, "select from brokerage.venue_instructions where sent_at is null")
            )
            with caplog.at_level(logging.ERROR):
                for _ in range(STUCK_AT_TRY):
                    await desk.try_again()
            assert "an order is stuck at the venue" in caplog.text
            assert await desk.stuck() == (4, 4)
            assert await held(books) == funds, "only the venue's word gives funds back"
            if how == "after a restart of both":
                exchange.stop()
                exchange.start()
        async with working(cell_database, exchange) as desk:
            await desk.try_again(STUCK_PERIOD_S)
            assert await held(books) == funds
            assert exchange.operate("POST", "/operator/v1/faults", b"{}")[0] == 200
            await until("ended", lambda: no_rows(books, "select from brokerage.orders where status <> 'cancelled'"))
            await desk.try_again()
            assert await desk.stuck() == (0, 0)
            assert await held(books) == [(0, 0)]
            await agree(books, exchange)


async def test_an_order_that_filled_in_silence_is_filled(
    cell_database: TestDatabase, exchange: ExchangeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The venue speaks before it was told to cancel: what it did counts."""
    monkeypatch.setattr(exchange_venue, "ANSWER_TIMEOUT_S", 0.2)
    assert exchange.operate("POST", "/operator/v1/faults", SILENCE)[0] == 200
    async with opened(cell_database, 4) as books, working(cell_database, exchange) as desk:
        await place(books, 4, away_ppm=40_000)
        await until("sent", lambda: no_rows(books, "select from brokerage.venue_instructions where sent_at is null"))
        await desk.try_again()
        assert await by_status(books) == {"routed": 4}
        assert exchange.operate("POST", "/operator/v1/faults", b"{}")[0] == 200
        await until("filled", lambda: no_rows(books, "select from brokerage.orders where status <> 'filled'"))
        await agree(books, exchange)
