"""Replacements, busts and corrections through worker and exchange: they race fills and deaths, and the books close."""

import pytest

from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.venue_books import (
    WorkerProcess,
    agree,
    count_quarantined,
    insist_one,
    no_rows,
    opened,
    place,
    rows,
    until,
)

pytestmark = pytest.mark.anyio

pytestmark = pytest.mark.anyio


async def test_replacements_go_out_and_race_fills(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    """Resting orders become marketable, smaller, larger; some are filling while they are replaced; some are refused."""
    faults = b'{"replace_refused_rate": 0.2, "latency_ms": 15, "lost_ack_rate": 0.05}'
    assert exchange.operate("POST", "/operator/v1/faults", faults)[0] == 200
    worker.start()
    async with opened(cell_database, 48) as books:
        resting = await place(books, 48, away_ppm=-60_000)
        await until("routed", lambda: no_rows(books, "select from brokerage.orders where status = 'funds_held'"))
        for number, order in enumerate(resting):
            px_change = abs(order.limit_px) * (10 if number % 2 else 1) // 100 // 10_000 * 10_000
            change = px_change if order.side == "buy" else -px_change
            await insist_one(books, order, qty_ppm=500_000 if number % 3 else 1_500_000, px_change=change)
        filling = await place(books, 48)
        outcomes = [await books.replace([order], qty_ppm=1_500_000) for order in filling]
        assert ["accepted"] in outcomes
        await agree(books, exchange)
        found = dict(await rows(books, "select status, count(*) from brokerage.orders group by 1"))
        assert found["replaced"] > 20
        assert found["rejected"] > 5
        assert found["filled"] > 10
        assert not await rows(books, "select from brokerage.orders where status = 'pending_replace'")
        assert await count_quarantined(books) == {}


async def test_busts_and_corrections_of_the_venue_are_posted(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    faults = b'{"bust_rate": 0.3, "correct_rate": 0.3, "duplicate_rate": 0.2}'
    assert exchange.operate("POST", "/operator/v1/faults", faults)[0] == 200
    worker.start()
    async with opened(cell_database) as books:
        await place(books, 120)
        await agree(books, exchange)
        kinds = dict(await rows(books, "select kind, count(*) from brokerage.executions group by 1"))
        assert kinds["bust"] > 10
        assert kinds["correct"] > 10
        assert await count_quarantined(books) == {}
