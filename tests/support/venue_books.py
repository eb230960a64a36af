"""Worker and exchange as real processes over one cell's database: what they did, and whether the two agree."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from cell.trial_balance import run_trial_balance
from exchange.prices import START_PRICES
from infra.runtime.database import Pool, make_pool
from infra.runtime.settings import PostgresSettings
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder, chunks
from tests.support.databases import TestDatabase
from tests.support.exchange_process import DEADLINE_S, ExchangeProcess
from tests.support.free_port import free_port

SYMBOLS = ("AAPL", "MSFT", "TSLA", "GME")


class WorkerProcess:
    """One `python -m cell work` at a time; `keep_running` starts it again whenever it dies, as a supervisor does."""

    def __init__(self, database: TestDatabase, exchange: ExchangeProcess, market_hours: str = "always") -> None:
        self.environ = os.environ | {
            "CELL_NAME": "cell-1",
            "CELL_POSTGRES__DSN": database.service_dsn,
            "CELL_KEYS_DIR": str(exchange.keys_dir),
            "CELL_OPERATOR__PORT": str(free_port()),
            "CELL_EXCHANGE__ADDRESS": f"127.0.0.1:{exchange.port}",
            "CELL_MARKET_HOURS": market_hours,
        }
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, fault_points: str = "") -> None:
        command = [sys.executable, "-m", "cell", "work"]
        self.process = subprocess.Popen(command, env=self.environ | {"FAULT_POINTS": fault_points})
        self.starts += 1

    def metrics(self) -> str:
        port = self.environ["CELL_OPERATOR__PORT"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S) as answer:
            return str(answer.read(), "utf-8")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(DEADLINE_S)

    async def keep_running(self, fault_points: str = "") -> None:
        while True:
            if self.process is None or self.process.poll() is not None:
                self.start(fault_points)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def opened(database: TestDatabase, users: int = 24) -> AsyncIterator[CellBooks]:
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection)
        await books.open_users(users)
        yield books


@asynccontextmanager
async def proven(database: TestDatabase, users: int) -> AsyncIterator[tuple[CellBooks, Pool]]:
    """Books, and connections for what works on them; every ledger check is green in the end."""
    pool = make_pool(PostgresSettings(dsn=database.service_dsn), "test", size=3)
    async with pool, opened(database, users) as books:
        yield books, pool
        await are_healthy(books)


async def are_healthy(books: CellBooks) -> None:
    trial = await run_trial_balance(books.connection)
    assert trial.healthy, [check for check in trial.checks if check.violations]


async def rows(books: CellBooks, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
    return await (await books.connection.execute(query, values)).fetchall()


async def until(what: str, holds: Callable[[], Awaitable[bool]], limit_s: float = DEADLINE_S) -> None:
    ends_at = asyncio.get_running_loop().time() + limit_s
    while not await holds():
        assert asyncio.get_running_loop().time() < ends_at, f"not in time: {what}"
        await asyncio.sleep(0.05)


async def place(books: CellBooks, count: int, *, away_ppm: int = 5_000) -> list[PlacedOrder]:
    """Orders through the market by `away_ppm` (or, negative, away from it), one per user at a time."""
    made = []
    for number in range(count):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        side = "buy" if number % 3 else "sell"
        drift = START_PRICES[symbol] * away_ppm // MICROS // 10_000 * 10_000
        limit_px = START_PRICES[symbol] + (drift if side == "buy" else -drift)
        user_id = books.users[number % len(books.users)]
        made.append(PlacedOrder(user_id, books.new_id(), symbol, side, limit_px, (1 + number % 40) * MICROS))
    for start in range(0, count, len(books.users)):
        for chunk in chunks(made[start : start + len(books.users)]):
            await insist(books.place, chunk, "accepted")
    return made


async def insist(
    ask: Callable[[Sequence[PlacedOrder]], Awaitable[list[str]]], orders: list[PlacedOrder], wanted: str
) -> None:
    """Ask again for those whose user another writer had at that moment."""
    while orders:
        outcomes = await ask(orders)
        assert set(outcomes) <= {wanted, "DEFERRED"}, outcomes
        orders = [order for order, outcome in zip(orders, outcomes, strict=True) if outcome == "DEFERRED"]


async def cancel(books: CellBooks, orders: list[PlacedOrder]) -> None:
    for chunk in chunks(orders):
        await insist(books.cancel, chunk, "pending_cancel")


async def insist_one(books: CellBooks, order: PlacedOrder, **how: int) -> None:
    """Replace one order, again and again while another writer has its user."""
    (outcome,) = await books.replace([order], **how)
    if outcome == "DEFERRED":
        await asyncio.sleep(0.01)
        await insist_one(books, order, **how)
    else:
        assert outcome in ("accepted", "ORDER_NOT_OPEN")


async def chain_lengths(books: CellBooks) -> list[tuple[Any, ...]]:
    """How many orders each user has: replacements make chains."""
    return await rows(books, "select user_id, count(*) from brokerage.orders group by 1")


def venue_orders(exchange: ExchangeProcess) -> dict[UUID, tuple[str, int, int]]:
    """order -> (status, cum_qty, number of fills), as the exchange's own log has it."""
    with sqlite3.connect(exchange.data_dir / "exchange.sqlite3") as log:
        found = log.execute("select cl_ord_id, ord_status, cum_qty, fill_count from orders").fetchall()
    log.close()
    return {UUID(cl_ord_id): (status, cum_qty, fills) for cl_ord_id, status, cum_qty, fills in found}


async def cell_orders(books: CellBooks) -> dict[UUID, tuple[str, int, int]]:
    found = await rows(
        books,
        """select order_id, case status when 'routed' then 'new' else status end, cum_qty_micros,
                  (select count(*) from brokerage.executions e where e.user_id = o.user_id and e.order_id = o.order_id)
             from brokerage.orders o
               -- the venue never heard of an order that was cancelled or replaced before it was routed
            where exists (select from brokerage.order_events v
                           where v.user_id = o.user_id and v.order_id = o.order_id and v.to_status = 'routed')
               or status not in ('cancelled', 'replaced')""",
    )
    return {order_id: (status, cum_qty, fills) for order_id, status, cum_qty, fills in found}


async def venue_is_at_rest(books: CellBooks, exchange: ExchangeProcess) -> bool:
    """Nothing more is planned at the venue, and the cell has taken in and applied every report."""
    with sqlite3.connect(exchange.data_dir / "exchange.sqlite3") as log:
        ((planned,),) = log.execute("select count(*) from orders where steps <> cast('[]' as blob)").fetchall()
        ((behind,),) = log.execute("select count(*) from sessions where acked_seq < last_seq").fetchall()
    log.close()
    return planned == behind == 0 and await no_rows(books, "select from brokerage.inbox")


async def agree(books: CellBooks, exchange: ExchangeProcess) -> None:
    """Everything sent, answered and applied; the cell's orders are the exchange's; the books are closed.

    In this order: an order that is still to be sent may be planned at the venue a moment after it was looked at.
    """

    async def settled() -> bool:
        return (
            await no_rows(books, "select from brokerage.venue_instructions")
            and await venue_is_at_rest(books, exchange)
            and await cell_orders(books) == venue_orders(exchange)
        )

    try:
        await until("cell and exchange agree", settled)
    except AssertionError:
        ours, theirs = await cell_orders(books), venue_orders(exchange)
        print({key: (ours.get(key), theirs.get(key)) for key in ours | theirs if ours.get(key) != theirs.get(key)})
        print(await rows(books, "select action, sent_at, count(*) from brokerage.venue_instructions group by 1, 2"))
        raise
    await are_healthy(books)


async def count_quarantined(books: CellBooks) -> dict[str, int]:
    return dict(
        (reason, count)
        for reason, count in await rows(
            books, "select reason, count(*) from brokerage.quarantined_reports group by 1 order by 1"
        )
    )


async def no_rows(books: CellBooks, query: LiteralString, *values: object) -> bool:
    return not await rows(books, query, *values)
