"""Orders without an answer: asked about, resent, cancelled, shown; their funds stay until the venue speaks."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cell.executions.instruction_queries import claim_instructions
from cell.executions.metrics import WORKER_METRICS
from cell.executions.sweep import CANCEL_AT_TRY, STUCK_AT_TRY, STUCK_PERIOD_S, UNANSWERED_AFTER_S, StuckSweep
from cell.executions.venue import VenueAway, VenueListener, VenueOrder, VenueSilent
from cell.operations.queries import SUMMARY, read_one
from infra.runtime.database import Pool
from infra.runtime.telemetry import Metrics
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder
from tests.support.databases import TestDatabase
from tests.support.moved_metrics import assert_moved
from tests.support.venue_books import proven

pytestmark = pytest.mark.anyio


class StubVenue:
    """Knows what it is told to know, is silent about the rest, and remembers what was sent."""

    name, session, generation = "exchange", "cell-1", 1

    def __init__(self) -> None:
        self.known: dict[UUID, bool] = {}
        self.sent: list[tuple[str, UUID]] = []
        self.away = False

    async def run(self, listener: VenueListener) -> None: ...

    async def wait_connected(self) -> int:
        return 1

    async def submit(self, order: VenueOrder) -> None: ...

    async def replace(self, order: VenueOrder) -> None: ...

    async def cancel(self, order_id: UUID, user_id: UUID) -> None: ...

    async def ask(self, order_id: UUID, user_id: UUID) -> bool:
        if self.away:
            raise VenueAway("gone")
        if order_id not in self.known:
            raise VenueSilent("nothing said")
        return self.known[order_id]

    async def acknowledge(self, seq: int) -> None: ...

    async def reset(self) -> None: ...

    async def send(self, action: str, order: VenueOrder) -> None:
        self.sent.append((action, order.order_id))


class HandClock:
    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


class Bench:
    """A cell whose orders were all sent, to a venue that says nothing."""

    def __init__(self, books: CellBooks, pool: Pool) -> None:
        self.books, self.pool = books, pool
        self.venue, self.clock = StubVenue(), HandClock()
        self.metrics = Metrics(WORKER_METRICS)
        self.sweep = StuckSweep(
            pool, self.venue, self.venue.send, cell="cell-1", clock=self.clock, metrics=self.metrics
        )

    async def place(self, user: int) -> PlacedOrder:
        order = PlacedOrder(self.books.users[user], self.books.new_id(), "AAPL", "buy", 228_000_000, MICROS)
        assert await self.books.place([order]) == ["accepted"]
        await self.claim()
        return order

    async def claim(self) -> list[str]:
        claimed = await claim_instructions(self.pool, 64)
        actions = [instruction.action for instruction in claimed.instructions]
        self.clock.at = max(self.clock.at, datetime.now(UTC))  # what was sent is dated by the database
        return actions

    async def try_again(self, after_s: float = UNANSWERED_AFTER_S) -> list[tuple[str, UUID]]:
        self.venue.sent.clear()
        self.clock.at += timedelta(seconds=after_s + 0.001)
        await self.sweep.sweep()
        return list(self.venue.sent)

    async def status(self, order: PlacedOrder) -> str:
        query = "select status from brokerage.orders where order_id = %s"
        ((status,),) = await (await self.books.connection.execute(query, [order.order_id])).fetchall()
        return str(status)

    async def shown(self) -> int:
        summary = await read_one(self.pool, SUMMARY)
        assert summary is not None
        return int(summary["orders_stuck"])


@pytest.fixture
async def bench(cell_database: TestDatabase) -> AsyncIterator[Bench]:
    async with proven(cell_database, 3) as (books, pool):
        yield Bench(books, pool)


async def test_nothing_is_asked_before_its_time(bench: Bench) -> None:
    await bench.place(0)
    assert await bench.try_again(UNANSWERED_AFTER_S - 1) == []
    ((tries,),) = await (
        await bench.books.connection.execute("select tries from brokerage.venue_instructions")
    ).fetchall()
    assert tries == 0


async def test_what_the_venue_does_not_know_is_sent_again_and_what_it_knows_is_not(bench: Bench) -> None:
    lost, there = await bench.place(0), await bench.place(1)
    bench.venue.known = {lost.order_id: False, there.order_id: True}
    assert await bench.try_again() == [("submit", lost.order_id)]


async def test_silence_ends_in_a_cancel_and_then_before_an_operator_and_the_funds_stay(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    order, other = await bench.place(0), await bench.place(1)
    bench.venue.known = {other.order_id: True}
    for _ in range(CANCEL_AT_TRY - 1):
        await bench.try_again()
        assert await bench.status(order) == "routed"
    await bench.try_again()
    assert (await bench.status(order), await bench.status(other)) == ("pending_cancel", "routed")
    assert await bench.claim() == ["cancel"]
    assert ("cancel", order.order_id) in await bench.try_again()
    assert await bench.shown() == 0
    with caplog.at_level(logging.ERROR):
        for _ in range(STUCK_AT_TRY):
            await bench.try_again()
    assert "an order is stuck at the venue" in caplog.text
    assert await bench.shown() == 2, "also an order that is known and whose acknowledgement never came"
    gauge: Any = bench.metrics.gauge("cell_orders_stuck").labels("cell-1")
    assert gauge._value.get() == 2
    assert_moved(bench.metrics.render(), "cell_orders_stuck", "cell_instructions_asked_total")
    assert await bench.try_again() == [], "asked less often now"
    assert await bench.try_again(STUCK_PERIOD_S) == [("cancel", order.order_id)]
    query = "select held_cash_micros from brokerage.orders where order_id = %s"
    assert await (await bench.books.connection.execute(query, [order.order_id])).fetchall() == [(228 * MICROS,)]
    await bench.books.tell([bench.books.report("cancelled", order), bench.books.report("accepted", other)])
    assert (await bench.status(order), await bench.shown()) == ("cancelled", 0)


async def test_a_fill_after_the_cancel_of_a_silent_order_still_counts(bench: Bench) -> None:
    order = await bench.place(0)
    for _ in range(CANCEL_AT_TRY):
        await bench.try_again()
    assert await bench.status(order) == "pending_cancel"
    await bench.books.tell([bench.books.fill(order)])
    assert await bench.status(order) == "filled"
    assert await bench.try_again() == []


async def test_a_venue_that_is_away_is_not_an_orders_fault(bench: Bench) -> None:
    await bench.place(0)
    bench.venue.away = True
    with pytest.raises(VenueAway):
        await bench.try_again()
    ((tries,),) = await (
        await bench.books.connection.execute("select tries from brokerage.venue_instructions")
    ).fetchall()
    assert tries == 0
