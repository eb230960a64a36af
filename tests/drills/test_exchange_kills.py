"""Real kills of the worker and the exchange while orders go out, under faults and between replacements."""

import asyncio
import random
import signal

import pytest

from tests.support.cell_books import PlacedOrder
from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.venue_books import (
    WorkerProcess,
    agree,
    chain_lengths,
    count_quarantined,
    insist_one,
    no_rows,
    opened,
    place,
    until,
)

pytestmark = pytest.mark.anyio


async def test_a_kill_of_the_exchange_loses_and_doubles_nothing(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    worker.start()
    async with opened(cell_database) as books:
        for _ in range(4):
            await place(books, 72)
            await asyncio.sleep(0.05)  # a moment for the kill: some orders are at the venue, others are not
            exchange.stop(signal.SIGKILL)
            await place(books, 24)
            exchange.start()
        await agree(books, exchange)
        assert await count_quarantined(books) == {}


async def test_kills_of_both_sides_under_faults_lose_and_double_nothing(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    chance = random.Random(5)
    faults = b'{"duplicate_rate": 0.1, "lost_ack_rate": 0.05, "late_fill_rate": 0.2, "cancel_refused_rate": 0.2}'
    assert exchange.operate("POST", "/operator/v1/faults", faults)[0] == 200
    running = asyncio.create_task(worker.keep_running())
    async with opened(cell_database, 64) as books:
        placed: list[PlacedOrder] = []
        for _ in range(12):
            placed += await place(books, chance.randrange(16, 80), away_ppm=chance.choice([5_000, -50_000]))
            one_per_user = {order.user_id: order for order in chance.sample(placed, 16)}
            await books.cancel([one_per_user[user_id] for user_id in sorted(one_per_user)])
            await asyncio.sleep(chance.random() * 0.4)  # the moment of the kill
            if worker.process is not None and chance.random() < 0.4:
                worker.process.kill()
            if chance.random() < 0.3:
                exchange.stop(signal.SIGKILL)
                exchange.start()
        await agree(books, exchange)
        assert await count_quarantined(books) == {}
    running.cancel()


async def test_kills_of_the_worker_between_replacements_lose_and_double_nothing(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    running = asyncio.create_task(worker.keep_running())
    async with opened(cell_database, 32) as books:
        resting = await place(books, 32, away_ppm=-60_000)
        for round_number in range(4):
            await until("settled", lambda: no_rows(books, "select from brokerage.venue_instructions"))
            for order in resting:
                await insist_one(books, order, qty_ppm=900_000)
            assert worker.process is not None
            worker.process.kill()
            if round_number == 2:
                exchange.stop(signal.SIGKILL)
                exchange.start()
        await agree(books, exchange)
        assert {count for _, count in await chain_lengths(books)} == {5}
        assert await count_quarantined(books) == {}
    running.cancel()
