"""Worker and exchange, both real processes, over a real database: nothing lost, nothing doubled, books closed."""

import asyncio
import signal
from typing import LiteralString

import msgspec
import psycopg
import pytest

from cell.executions.worker import HANDED_OVER
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
    insist,
    no_rows,
    opened,
    place,
    rows,
    until,
    venue_is_at_rest,
)

pytestmark = pytest.mark.anyio
UNSENT: LiteralString = "select from brokerage.venue_instructions where sent_at is null"
BACKLOG = 400
"""Orders of one customer; a claim that looked at the oldest 256 of all would see nobody else's, also after one claim of
64 that was under way when the outage was noticed."""


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
        await agree(books, exchange)
        assert_moved(
            await asyncio.to_thread(worker.metrics),
            "cell_instructions_sent_total",
            "cell_reports_accepted_total",
            "cell_reports_applied_total",
            "cell_reports_apply_seconds",
            "cell_venue_generation",
            "cell_venue_connected",
            "cell_venue_round_trip_seconds",
            "cell_worker_active",
        )
        orders = await cell_orders(books)
        statuses = [orders[order.order_id][0] for order in filling]
        assert statuses.count("filled") > 100
        assert statuses.count("new") > 10
        assert [orders[order.order_id][0] for order in resting] == ["cancelled"] * 24 + ["new"] * 24
        assert await count_quarantined(books) == {}
        ((priced,),) = await rows(books, "select count(*) from brokerage.symbols where reference_px_micros > 0")
        assert priced == len(START_PRICES)
    assert worker.end() == 0


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
            await agree(books, exchange)
        finally:
            assert second.end() == 0


async def test_a_worker_that_ends_hands_over_before_its_inbox_is_empty(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    """It stays alive behind the hand-over, and the report of a locked user is never applied meanwhile."""
    worker.start(f"{HANDED_OVER}=stall:600")
    async with opened(cell_database) as books:
        [order] = await place(books, 1, away_ppm=-60_000)
        await agree(books, exchange)
        second = WorkerProcess(cell_database, exchange)
        second.start()
        try:
            await until("it stands by", lambda: asyncio.to_thread(shows, second, "cell_worker_active", 0))
            assert exchange.operate("POST", "/operator/v1/faults", b'{"latency_ms": 2000}')[0] == 200
            async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn) as holder:
                await cancel(books, [order])
                await until("the venue was told", lambda: no_rows(books, UNSENT))
                await holder.execute("select from brokerage.users where user_id = %s for update", [order.user_id])
                await until("its report lies there", lambda: some_rows(books, "select from brokerage.inbox"))
                assert worker.process is not None
                worker.process.terminate()
                await until("the other leads", lambda: asyncio.to_thread(shows, second, "cell_worker_active", 1))
                assert worker.process.poll() is None, "the first one has not ended"
                assert await some_rows(books, "select from brokerage.inbox")
            await agree(books, exchange)
        finally:
            worker.end(signal.SIGKILL)
            assert second.end() == 0


def shows(process: WorkerProcess, metric: str, value: int) -> bool:
    """Does it say so? False while it does not answer."""
    try:
        return f'{metric}{{cell="cell-1"}} {value}.0' in process.metrics()
    except OSError:
        return False


async def some_rows(books: CellBooks, query: LiteralString) -> bool:
    return bool(await rows(books, query))


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
        await until("every rejection is applied", lambda: venue_is_at_rest(books, exchange))
        await cancel(books, [order for order in resting if (await status(books, order)) == "routed"][:20])
        await agree(books, exchange)  # what follows switches the other faults off
        assert exchange.operate("POST", "/operator/v1/faults", b'{"unknown_fill": true}')[0] == 200
        await agree(books, exchange)
        quarantined = await count_quarantined(books)
        assert set(quarantined) == {"exec id seen with other content", "unknown order"}
        assert quarantined["unknown order"] == 1
        late = await rows(books, "select order_id from brokerage.order_events where reason = 'late fill'")
        assert late


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
            await asyncio.sleep(0.2)  # the moment of the loss: the worker is busy with these orders
            await superuser.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'cell-1-worker %'"
            )
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
                      lease_ends_at = clock_timestamp() + interval '10 min' where user_id = %s""",
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
        )
        await superuser.execute(
            "update brokerage.users set lease_ends_at = clock_timestamp() where halt_id is not null"
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
        await agree(books, exchange)
        found = await cell_orders(books)
        assert {tape_id: found[order.order_id] for tape_id, order in orders.items()} == {
            11: ("cancelled", 40 * MICROS, 2),
            12: ("filled", 50 * MICROS, 1),
            13: ("new", 0, 0),
        }


async def test_an_order_waits_for_no_backlog_of_another_customer_when_the_venue_comes_back(
    cell_database: TestDatabase, exchange: ExchangeProcess, worker: WorkerProcess
) -> None:
    """Counted in claims, not in seconds: behind the outage the first or the second one has the neighbour's order."""
    worker.start()
    async with opened(cell_database, 2) as books:
        greedy, neighbour = books.users

        async def venue_is(connected: bool) -> bool:
            return (await worker_facts(worker)).get("venue") is connected

        await until("connected", lambda: venue_is(True))
        exchange.process.send_signal(signal.SIGSTOP)
        try:
            await until("the outage is noticed", lambda: venue_is(False))
            for user_id in [greedy] * BACKLOG + [neighbour]:
                order = PlacedOrder(user_id, books.new_id(), "AAPL", "buy", START_PRICES["AAPL"], MICROS)
                await insist(books.place, [order], "accepted")
            waiting = "select count(*), clock_timestamp() from brokerage.venue_instructions where sent_at is null"
            ((unsent, resumed_at),) = await rows(books, waiting)
            assert unsent > 256, "the window of this test"
        finally:
            exchange.process.send_signal(signal.SIGCONT)
        routed = "select from brokerage.order_events where user_id = %s and to_status = 'routed'"

        async def has_gone() -> bool:
            return not await no_rows(books, routed, neighbour)

        await until("the neighbour's order is sent", has_gone)
        claims = """select count(distinct e.at) from brokerage.order_events e
                     where e.user_id = %s and e.to_status = 'routed' and e.at > %s and e.at < (
                           select n.at from brokerage.order_events n where n.user_id = %s and n.to_status = 'routed')"""
        ((claims_before,),) = await rows(books, claims, greedy, resumed_at, neighbour)
        assert claims_before <= 1
        await agree(books, exchange)


async def worker_facts(worker: WorkerProcess) -> dict[str, object]:
    """What the worker's readiness says, ready or not; nothing before it listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(worker.environ["CELL_OPERATOR__PORT"]))
    except OSError:
        return {}
    writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    facts: dict[str, object] = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
    return facts
