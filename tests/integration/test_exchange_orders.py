"""Orders of every kind through worker and exchange: at once or not at all, stops, amounts."""

import asyncio
import signal
from typing import LiteralString
from uuid import UUID

import pytest

from exchange.prices import START_PRICES
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder
from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.moved_metrics import assert_moved
from tests.support.venue_books import (
    WorkerProcess,
    agree,
    cancel,
    cell_orders,
    count_quarantined,
    no_rows,
    opened,
    rows,
    until,
    venue_is_at_rest,
)

pytestmark = pytest.mark.anyio

pytestmark = pytest.mark.anyio

PLACE_WITH_TERMS: LiteralString = """
select outcome, resource_id
  from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, %s, %s::bigint[], %s::bigint[], now(),
                                 interval '1 hour', true, %s::bigint[], 'always', %s::bigint[])
"""


async def place_terms(
    books: CellBooks,
    *,
    side: str,
    kind: str,
    time_in_force: str,
    limit_px: int | None,
    stop_px: int | None = None,
    notional: int | None = None,
) -> list[UUID]:
    """The same order for every user."""
    size = len(books.users)
    made = await rows(
        books,
        PLACE_WITH_TERMS,
        books.users,
        [books.new_id().hex for _ in books.users],
        [b"f"] * size,
        [None] * size,
        ["AAPL"] * size,
        [side] * size,
        [kind] * size,
        [time_in_force] * size,
        [10 * MICROS if notional is None else None] * size,
        [limit_px] * size,
        [stop_px] * size,
        [notional] * size,
    )
    assert {outcome for outcome, _ in made} == {"accepted"}
    return [order_id for _, order_id in made]


@pytest.mark.parametrize("time_in_force", ["ioc", "fok"])
async def test_what_cannot_trade_at_once_is_cancelled_by_the_venue_and_releases_its_funds(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess, time_in_force: str
) -> None:
    worker.start()
    last_px = START_PRICES["AAPL"]
    async with opened(cell_database, 48) as books:
        near = await place_terms(
            books,
            side="buy",
            kind="limit",
            time_in_force=time_in_force,
            limit_px=last_px * 101 // 100 // 10_000 * 10_000,
        )
        away = await place_terms(
            books,
            side="buy",
            kind="limit",
            time_in_force=time_in_force,
            limit_px=last_px * 93 // 100 // 10_000 * 10_000,
        )
        ended = "select from brokerage.orders where status not in ('filled', 'cancelled')"
        await until("every order has ended", lambda: no_rows(books, ended))
        await agree(books, exchange)
        found = await cell_orders(books)
        assert {found[order_id][:2] for order_id in away} == {("cancelled", 0)}
        filled = {order_id: found[order_id][1] for order_id in near}
        assert 10 * MICROS in filled.values()
        if time_in_force == "fok":
            assert set(filled.values()) <= {0, 10 * MICROS}, "all or nothing"
            assert {found[order_id][2] for order_id in near} <= {0, 1}, "in one piece"
        else:
            assert any(0 < qty < 10 * MICROS for qty in filled.values()), "some trade in part"
        assert await rows(books, "select sum(cash_held_micros)::bigint from brokerage.users") == [(0,)]


async def test_a_stop_goes_out_when_the_last_price_reaches_it_also_after_the_worker_was_down(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    worker.start()
    last_px = START_PRICES["AAPL"]
    stop_px = last_px * 104 // 100 // 10_000 * 10_000
    async with opened(cell_database, 12) as books:
        await until("prices are known", lambda: no_rows(books, "select from brokerage.symbols having count(*) < 30"))
        stops = await place_terms(books, side="buy", kind="stop", time_in_force="gtc", limit_px=None, stop_px=stop_px)
        asleep = await place_terms(
            books,
            side="buy",
            kind="stop_limit",
            time_in_force="gtc",
            limit_px=stop_px * 1038 // 1000 // 10_000 * 10_000,
            stop_px=stop_px + 10_000,
        )
        await asyncio.sleep(1.5)  # nothing happens: the worker has met two or three prices, and none reaches a stop
        armed = "select count(*) from brokerage.orders where status = 'armed'"
        assert await rows(books, armed) == [(24,)]
        worker.end(signal.SIGKILL)
        raised = f"34200,1,11,100,{stop_px * 1005 // 1000 // 10_000 * 100},1\n".encode()  # the market jumps
        assert exchange.operate("POST", "/operator/v1/tapes?symbol=AAPL&run=UP", raised)[0] == 201
        assert await rows(books, armed) == [(24,)], "nobody looks while the worker is down"
        worker.start()
        await until("no stop is armed", lambda: no_rows(books, "select from brokerage.armed_stops"))
        open_orders = "select from brokerage.orders where status <> 'filled'"
        await until("every triggered order fills", lambda: no_rows(books, open_orders))
        await agree(books, exchange)
        found = await cell_orders(books)
        assert {found[order_id][0] for order_id in stops + asleep} == {"filled"}
        triggered = "select count(*) from brokerage.order_events where reason = 'stop reached'"
        assert await rows(books, triggered) == [(24,)], "each once"
        assert_moved(await asyncio.to_thread(worker.metrics), "cell_stops_triggered_total")


async def test_orders_by_amount_never_trade_for_more_also_after_crashes(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    faults = (
        b'{"duplicate_rate": 0.1, "lost_ack_rate": 0.1, "late_fill_rate": 0.5, "bust_rate": 0.1, "correct_rate": 0.1}'
    )
    assert exchange.operate("POST", "/operator/v1/faults", faults)[0] == 200
    worker.start()
    near, far = (
        START_PRICES["AAPL"] * 101 // 100 // 10_000 * 10_000,
        START_PRICES["AAPL"] * 94 // 100 // 10_000 * 10_000,
    )
    async with opened(cell_database, 12) as books:
        await until("prices are known", lambda: no_rows(books, "select from brokerage.symbols having count(*) < 30"))
        made = []
        for side in ("buy", "sell"):
            for notional in (1_000_000, 5_000_000, 1_234_567_891):
                made += await place_terms(
                    books, side=side, kind="market", time_in_force="day", limit_px=None, notional=notional
                )
                worker.end(signal.SIGKILL)
                worker.start()
        for time_in_force in ("day", "ioc", "fok"):
            made += await place_terms(
                books, side="buy", kind="limit", time_in_force=time_in_force, limit_px=near, notional=777_777_777
            )
        resting = await place_terms(
            books, side="buy", kind="limit", time_in_force="gtc", limit_px=far, notional=5_000_000
        )
        routed = "select from brokerage.orders where status = 'funds_held'"
        await until("everything is routed", lambda: no_rows(books, routed))
        exchange.stop(signal.SIGKILL)
        exchange.start()
        await until("the venue is back", lambda: no_rows(books, "select from brokerage.venue_instructions"))
        await until("the venue has said everything", lambda: venue_is_at_rest(books, exchange))
        placed = [
            PlacedOrder(user, order_id, "AAPL", "buy", far, 0)
            for user, order_id in zip(books.users, resting, strict=True)
        ]
        await cancel(books, placed)
        await agree(books, exchange)
        assert await count_quarantined(books) == {}
        found = dict(
            await rows(books, "select status, count(*) from brokerage.orders where type = 'market' group by 1")
        )
        assert found["filled"] > 36, "market orders fill, but for those that lost a fill to a bust"
        assert set(found) <= {"filled", "cancelled", "routed", "partially_filled"}
        rest = """select from brokerage.orders o
                   where status = 'filled' and side = 'buy' and notional_micros - cum_cost_micros > 300
                     and not exists (select from brokerage.executions x
                                      where x.user_id = o.user_id and x.order_id = o.order_id and x.kind <> 'fill')"""
        assert await no_rows(books, rest), "at most the price of a micro-share and a rounding is left"
