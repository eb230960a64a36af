"""Orders at a venue, and a worker's inbox that hears of them and dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec

from cell.executions.exchange_venue import ExchangeVenue
from cell.executions.inbox import Inbox
from cell.executions.metrics import WORKER_METRICS
from cell.executions.report import ExecutionReport
from cell.operations.queries import EARLY_REPORTS, SUMMARY, read_all, read_one
from infra.runtime.cancelling import cancel_all
from infra.runtime.clock import SystemClock
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.telemetry import Metrics
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.venue_books import proven

BUYERS, PX, QTY = 3, 228_000_000, 10 * MICROS


class InboxScene:
    """One cell's database; workers come and go."""

    def __init__(self, books: CellBooks, pool: Pool) -> None:
        self.books, self.pool = books, pool
        self.seq = 0

    async def order(self) -> PlacedOrder:
        order = PlacedOrder(self.books.users[self.seq % BUYERS], self.books.new_id(), "AAPL", "buy", PX, QTY)
        assert await self.books.place([order]) == ["accepted"]
        await self.books.route()
        return order

    @asynccontextmanager
    async def working(self, pool: Pool | None = None) -> AsyncIterator[Inbox]:
        """A worker's inbox but for its lookout, until it is killed."""
        self.metrics = Metrics(WORKER_METRICS)
        inbox = Inbox(
            pool or self.pool,
            ExchangeVenue("127.0.0.1:1", "cell-1"),
            cell="cell-1",
            clock=SystemClock(),
            metrics=self.metrics,
            fault_points=FaultPoints(),
        )
        await inbox.recover()
        tasks = [asyncio.create_task(loop) for loop in (inbox.run_intake(), inbox.run_applier(), inbox.run_applier())]
        try:
            yield inbox
        finally:
            await cancel_all(tasks)

    @asynccontextmanager
    async def looking(self, inbox: Inbox) -> AsyncIterator[None]:
        """Its lookout beside it."""
        task = asyncio.create_task(inbox.run_lookout())
        try:
            yield
        finally:
            await cancel_all([task])

    async def tell(self, inbox: Inbox, *bodies: dict[str, object]) -> None:
        reports = []
        for body in bodies:
            self.seq += 1
            order_id = UUID(str(body["order_id"]))
            reports.append(ExecutionReport(self.seq, str(body["kind"]), order_id, msgspec.json.encode(body).decode()))
        await inbox.put(reports)

    async def is_deferred(self) -> None:
        """The database sent a report back that is not its user's oldest."""

        async def there() -> bool:
            return b'"deferred"' in self.metrics.render()

        await eventually(there)

    async def waiting(self) -> list[str]:
        return [row["body"]["kind"] for row in await read_all(self.pool, EARLY_REPORTS, [0, 100])]

    async def comes_to(self, order: PlacedOrder, status: str, executions: int) -> None:
        query = """select o.status, (select count(*) from brokerage.executions x where x.order_id = o.order_id),
                          (select count(*) from brokerage.inbox) from brokerage.orders o where order_id = %s"""

        async def there() -> bool:
            rows = await (await self.books.connection.execute(query, [order.order_id])).fetchall()
            return rows == [(status, executions, 0)]

        await eventually(there)

    async def shown(self) -> tuple[int, int]:
        summary = await read_one(self.pool, SUMMARY)
        assert summary is not None
        return summary["reports_early"], summary["quarantined"]

    async def has_early(self, count: int) -> None:
        async def there() -> bool:
            return await self.shown() == (count, 0)

        await eventually(there)


@asynccontextmanager
async def inbox_scene(database: TestDatabase) -> AsyncIterator[InboxScene]:
    async with proven(database, BUYERS) as (books, pool):
        yield InboxScene(books, pool)
