"""Worker and exchange, both real processes, over a real database: nothing lost, nothing doubled, books closed."""

import asyncio
import random
import signal
from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import UUID

import msgspec
import psycopg
import pytest

from exchange.prices import START_PRICES
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder
from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.venue_books import (
    WorkerProcess,
    agree,
    cancel,
    cell_orders,
    count_quarantined,
    insist,
    no_rows,
    opened,
    place,
    rows,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def worker(cell_database: TestDatabase, exchange: ExchangeProcess) -> Iterator[WorkerProcess]:
    process = WorkerProcess(cell_database, exchange)
    try:
        yield process
    finally:
        if process.process is not None:
            process.end(signal.SIGKILL)


async def test_orders_go_out_and_everything_comes_back(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    worker.start()
    async with opened(cell_database) as books:
        filling = await place(books, 240)
        resting = await place(books, 48, away_ppm=-60_000)
        await until(
            "everything is routed", lambda: no_rows(books, "select from brokerage.orders where status = 'funds_held'")
        )
        await cancel(books, resting[:24])
        await asyncio.sleep(1.0)
        await agree(books, exchange)
        orders = await cell_orders(books)
        statuses = [orders[order.order_id][0] for order in filling]
        assert statuses.count("filled") > 100
        assert statuses.count("new") > 10
        assert [orders[order.order_id][0] for order in resting] == ["cancelled"] * 24 + ["new"] * 24
        assert await count_quarantined(books) == {}
        ((priced,),) = await rows(books, "select count(*) from brokerage.symbols where reference_px_micros > 0")
        assert priced == len(START_PRICES)
    assert worker.end() == 0


async def test_a_kill_of_the_exchange_loses_and_doubles_nothing(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    worker.start()
    async with opened(cell_database) as books:
        for _ in range(4):
            await place(books, 72)
            await asyncio.sleep(0.05)
            exchange.stop(signal.SIGKILL)
            await place(books, 24)
            exchange.start()
        await asyncio.sleep(1.0)
        await agree(books, exchange)
        assert await count_quarantined(books) == {}


async def test_a_second_worker_waits_and_takes_over(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    worker.start()
    async with opened(cell_database) as books:
        await place(books, 24)
        second = WorkerProcess(cell_database, exchange)
        second.start()
        try:
            await agree(books, exchange)
            worker.end(signal.SIGKILL)
            await place(books, 48)
            await asyncio.sleep(1.0)
            await agree(books, exchange)
        finally:
            assert second.end() == 0


async def test_every_fault_of_the_venue_is_survived(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    faults = {
        "duplicate_rate": 0.2,
        "noisy_duplicate_rate": 0.1,
        "lost_ack_rate": 0.2,
        "reject_rate": 0.05,
        "late_fill_rate": 0.5,
        "cancel_refused_rate": 0.2,
        "latency_ms": 20,
    }
    assert exchange.operate("POST", "/operator/v1/faults", msgspec.json.encode(faults))[0] == 200
    worker.start()
    async with opened(cell_database) as books:
        await place(books, 192)
        resting = await place(books, 48, away_ppm=-60_000)
        await until(
            "everything is routed", lambda: no_rows(books, "select from brokerage.orders where status = 'funds_held'")
        )
        await asyncio.sleep(0.5)
        await cancel(books, [order for order in resting if (await status(books, order)) == "routed"][:20])
        await asyncio.sleep(1.0)
        assert exchange.operate("POST", "/operator/v1/faults", b'{"unknown_fill": true}')[0] == 200
        await agree(books, exchange)
        quarantined = await count_quarantined(books)
        assert set(quarantined) == {"exec id seen with other content", "unknown order"}
        assert quarantined["unknown order"] == 1
        late = await rows(books, "select order_id from brokerage.order_events where reason = 'late fill'")
        assert late


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
            await asyncio.sleep(chance.random() * 0.4)
            if worker.process is not None and chance.random() < 0.4:
                worker.process.kill()
            if chance.random() < 0.3:
                exchange.stop(signal.SIGKILL)
                exchange.start()
        await asyncio.sleep(1.0)
        await agree(books, exchange)
        assert await count_quarantined(books) == {}
    running.cancel()


async def test_lost_database_connections_lose_and_double_nothing(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    worker.start()
    async with (
        opened(cell_database) as books,
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as superuser,
    ):
        for _ in range(6):
            await place(books, 48)
            await asyncio.sleep(0.2)
            await superuser.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cell-1-worker'"
            )
        await asyncio.sleep(1.0)
        await agree(books, exchange)
        assert await count_quarantined(books) == {}
    assert worker.process is not None
    assert worker.process.poll() is None


async def test_reports_of_a_halted_user_wait_and_hold_up_nobody(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    worker.start()
    async with (
        opened(cell_database) as books,
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as superuser,
    ):
        await place(books, 24)
        await until("routed", lambda: no_rows(books, "select from brokerage.orders where status = 'funds_held'"))
        await superuser.execute(
            """update brokerage.users set owner_state = 'halted', halt_id = gen_random_uuid(),
                      lease_ends_at = clock_timestamp() + interval '4 s' where user_id = %s""",
            [books.users[0]],
        )
        made = [
            PlacedOrder(user_id, books.new_id(), "AAPL", "buy", START_PRICES["AAPL"] * 104 // 100, MICROS)
            for user_id in books.users[1:]
        ]
        await insist(books.place, made, "accepted")
        await until(
            "the others go on",
            lambda: no_rows(
                books,
                "select from brokerage.orders where order_id = any (%s) and status <> 'filled'",
                [order.order_id for order in made],
            ),
            limit_s=3.5,
        )
        await agree(books, exchange)


async def status(books: CellBooks, order: PlacedOrder) -> str:
    ((found,),) = await rows(books, "select status from brokerage.orders where order_id = %s", order.order_id)
    return str(found)


async def test_a_tape_is_played_through_the_worker(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    tape = (
        b"34200,1,11,100,1900000,1\n34200.1,4,11,30,1900000,1\n34200.2,4,11,10,1900000,1\n34200.3,3,11,60,1900000,1\n"
        b"34200.4,1,12,50,1900100,-1\n34200.5,4,12,50,1900100,-1\n34200.6,1,13,5,10000,1\n"
    )
    assert exchange.operate("POST", "/operator/v1/tapes?symbol=AAPL&run=R", tape)[0] == 201
    worker.start()
    async with opened(cell_database, 3) as books:
        # prices of another year, and a bid of a dollar: on a tape that is no slip of a finger
        band = "select from brokerage.symbols where symbol = 'AAPL' and venue_low_px_micros is null"
        await until("what is on the tape is admitted, however far away", lambda: no_rows(books, band))
        orders = {}
        for user_id, (tape_id, side, px, qty) in zip(
            books.users,
            [(11, "buy", 190_000_000, 100), (12, "sell", 190_010_000, 50), (13, "buy", 1_000_000, 5)],
            strict=True,
        ):
            orders[tape_id] = PlacedOrder(user_id, books.new_id(), "AAPL", side, px, qty * MICROS)
            assert await books.place([orders[tape_id]], client_order_ids=[f"R-{tape_id}"]) == ["accepted"]
        await until("routed", lambda: no_rows(books, "select from brokerage.orders where status = 'funds_held'"))
        await cancel(books, [orders[11]])
        await asyncio.sleep(0.5)
        await agree(books, exchange)
        found = await cell_orders(books)
        assert {tape_id: found[order.order_id] for tape_id, order in orders.items()} == {
            11: ("cancelled", 40 * MICROS, 2),
            12: ("filled", 50 * MICROS, 1),
            13: ("new", 0, 0),
        }


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
        await asyncio.sleep(1.0)
        await agree(books, exchange)
        found = dict(await rows(books, "select status, count(*) from brokerage.orders group by 1"))
        assert found["replaced"] > 20
        assert found["rejected"] > 5
        assert found["filled"] > 10
        assert not await rows(books, "select from brokerage.orders where status = 'pending_replace'")
        assert await count_quarantined(books) == {}


async def insist_one(books: CellBooks, order: PlacedOrder, **how: int) -> None:
    (outcome,) = await books.replace([order], **how)
    if outcome == "SKIPPED":
        await asyncio.sleep(0.01)
        await insist_one(books, order, **how)
    else:
        assert outcome in ("accepted", "ORDER_NOT_OPEN")


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


async def chain_lengths(books: CellBooks) -> list[tuple[Any, ...]]:
    return await rows(books, "select user_id, count(*) from brokerage.orders group by 1")


async def test_busts_and_corrections_of_the_venue_are_posted(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    faults = b'{"bust_rate": 0.3, "correct_rate": 0.3, "duplicate_rate": 0.2}'
    assert exchange.operate("POST", "/operator/v1/faults", faults)[0] == 200
    worker.start()
    async with opened(cell_database) as books:
        await place(books, 120)
        await asyncio.sleep(1.5)
        await agree(books, exchange)
        kinds = dict(await rows(books, "select kind, count(*) from brokerage.executions group by 1"))
        assert kinds["bust"] > 10
        assert kinds["correct"] > 10
        assert await count_quarantined(books) == {}


PLACE_WITH_TERMS: LiteralString = """
select outcome, resource_id
  from brokerage.place_orders_v1(%s, %s, %s, %s, %s::text[], %s, %s, %s, %s, %s::bigint[], %s::bigint[], now(),
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
        [books.new_id() for _ in books.users],
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
        await asyncio.sleep(1.5)  # the exchange's own price is the reference by now
        stops = await place_terms(books, side="buy", kind="stop", time_in_force="gtc", limit_px=None, stop_px=stop_px)
        asleep = await place_terms(
            books,
            side="buy",
            kind="stop_limit",
            time_in_force="gtc",
            limit_px=stop_px * 1038 // 1000 // 10_000 * 10_000,
            stop_px=stop_px + 10_000,
        )
        await asyncio.sleep(1.5)
        armed = "select count(*) from brokerage.orders where status = 'armed'"
        assert await rows(books, armed) == [(24,)]
        worker.end(signal.SIGKILL)
        raised = f"34200,1,11,100,{stop_px * 1005 // 1000 // 10_000 * 100},1\n".encode()  # the market jumps
        assert exchange.operate("POST", "/operator/v1/tapes?symbol=AAPL&run=UP", raised)[0] == 201
        await asyncio.sleep(0.5)
        assert await rows(books, armed) == [(24,)], "nobody looked while the worker was down"
        worker.start()
        await until("no stop is armed", lambda: no_rows(books, "select from brokerage.armed_stops"))
        open_orders = "select from brokerage.orders where status <> 'filled'"
        await until("every triggered order fills", lambda: no_rows(books, open_orders))
        await agree(books, exchange)
        found = await cell_orders(books)
        assert {found[order_id][0] for order_id in stops + asleep} == {"filled"}
        triggered = "select count(*) from brokerage.order_events where reason = 'stop reached'"
        assert await rows(books, triggered) == [(24,)], "each once"


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
        await asyncio.sleep(1.0)
        placed = [
            PlacedOrder(user, order_id, "AAPL", "buy", far, 0)
            for user, order_id in zip(books.users, resting, strict=True)
        ]
        await cancel(books, placed)
        await asyncio.sleep(1.0)
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
