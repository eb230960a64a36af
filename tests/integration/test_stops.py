"""Stops: held when armed, triggered once by a later price, never lost to a lock, ended at once by a cancel."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from infra.runtime.sql_files import read_sql
from tests.support.databases import TestDatabase
from tests.support.stopped_clock import SET_TIME, SentTime, stop_clock

NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
DOLLAR = 1_000_000
PLACE = """
select outcome, resource_id, figures
  from place_orders_v1(%s, %s, %s, array[null::text], array['AAPL'], %s, %s, array['gtc'],
                                 array[%s::bigint], array[%s::bigint], %s, interval '1 hour',
                                 p_stop_pxs => array[%s::bigint])
"""


class Desk:
    """One customer of a cell, one price, and a clock that only the test moves."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.now = NOON
        self._sent_time = SentTime()
        self.user = uuid.uuid4()
        self.tell(100 * DOLLAR)
        self.call("select 1 from open_account_v1(%s, 1, 'retail', %s, null, 'x')", self.user, self.user.hex)
        key = [self.user], [uuid.uuid4().hex], [b"f"]
        self.call("select 1 from deposit_cash_v1(%s, %s, %s, array[1000000000])", *key)
        key = [self.user], [uuid.uuid4().hex], [b"f"]
        transfer = "select 1 from transfer_shares_v1(%s, %s, %s, array['AAPL'], array[9000000], array[1], true)"
        self.call(transfer, *key)

    def call(self, query: str, *parameters: object) -> list[Any]:
        if news := self._sent_time.news(self.now):
            self.connection.execute(SET_TIME, [news])
        return self.connection.execute(query, parameters).fetchall()

    def tell(self, px: int) -> None:
        self.now += timedelta(seconds=1)
        self.call("select set_reference_prices_v1(array['AAPL'], array[%s::bigint], now())", px)

    def trigger(self, px: int, *, limit: int = 100) -> tuple[int, int]:
        self.tell(px)
        self.judge()
        return self.send(limit)

    def judge(self) -> int:
        return int(self.call("select judge_stops_v1(100)")[0][0])

    def send(self, limit: int = 100) -> tuple[int, int]:
        query = "select triggered, passed_over from trigger_reached_stops_v1(%s, %s)"
        (row,) = self.call(query, limit, self.now)
        return row[0], row[1]

    def place(self, side: str, kind: str, stop: int, *, limit: int | None = None, qty: int = DOLLAR) -> uuid.UUID:
        self.now += timedelta(seconds=1)
        rows = self.call(PLACE, [self.user], [uuid.uuid4().hex], [b"f"], [side], [kind], qty, limit, self.now, stop)
        assert rows[0][0] == "accepted", rows
        order_id = rows[0][1]
        assert self.status(order_id) == rows[0][2]["status"]
        assert isinstance(order_id, uuid.UUID)
        return order_id

    def cancel(self, order_id: uuid.UUID) -> str:
        query = "select outcome from cancel_orders_v1(%s, %s, %s, %s)"
        return str(self.call(query, [self.user], [uuid.uuid4().hex], [b"f"], [order_id])[0][0])

    def status(self, order_id: uuid.UUID) -> str:
        return str(self.call("select status from brokerage.orders where order_id = %s", order_id)[0][0])

    def free_and_held(self) -> tuple[int, int]:
        (row,) = self.call("select cash_micros, cash_held_micros from brokerage.users where user_id = %s", self.user)
        return row[0], row[1]

    def claim(self) -> list[Any]:
        query = "select action, order_id, type, limit_px_micros from claim_instructions_v1(64)"
        return self.call(query)


@pytest.fixture
def desk(cell_database: TestDatabase) -> Iterator[Desk]:
    stop_clock(cell_database.owner_dsn)
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as connection:
        yield Desk(connection)
        for check in read_sql("cell", "checks"):
            assert connection.execute(check.text).fetchall() == [], check.name


@pytest.mark.parametrize(
    ("side", "short_of_it", "reaches"),
    [("buy", 110 * DOLLAR - 10_000, 110 * DOLLAR), ("sell", 90 * DOLLAR + 10_000, 90 * DOLLAR)],
)
def test_a_stop_is_triggered_once_by_the_price_that_reaches_it(
    desk: Desk, side: str, short_of_it: int, reaches: int
) -> None:
    order_id = desk.place(side, "stop", reaches)
    assert desk.status(order_id) == "armed"
    assert desk.trigger(short_of_it) == (0, 0)
    assert desk.claim() == [], "an armed order is not sent"
    assert desk.trigger(reaches) == (1, 0)
    assert desk.status(order_id) == "funds_held"
    assert desk.trigger(reaches) == (0, 0)
    (sent,) = desk.claim()
    assert sent == ("submit", order_id, "stop", 115_500_000 if side == "buy" else None)
    assert desk.status(order_id) == "routed"
    events = desk.call(
        "select to_status, reason from brokerage.order_events where order_id = %s order by seq", order_id
    )
    assert events == [("armed", "accepted"), ("funds_held", "stop reached"), ("routed", "sent to the venue")]


def test_a_stop_buy_holds_the_collar_of_its_stop_and_a_stop_limit_its_limit(desk: Desk) -> None:
    desk.place("buy", "stop", 109_990_000, qty=333_333)
    assert desk.free_and_held()[1] == -(-333_333 * 115_480_000 // DOLLAR)
    before = desk.free_and_held()[1]
    desk.place("buy", "stop_limit", 110 * DOLLAR, limit=110 * DOLLAR, qty=2 * DOLLAR)
    assert desk.free_and_held()[1] - before == 220 * DOLLAR
    desk.place("sell", "stop", 90 * DOLLAR, qty=4 * DOLLAR)
    held = desk.call("select qty_held_micros from brokerage.positions where user_id = %s", desk.user)
    assert held == [(4 * DOLLAR,)]


def test_a_stop_that_is_reached_at_entry_goes_at_once(desk: Desk) -> None:
    order_id = desk.place("buy", "stop_limit", 99 * DOLLAR, limit=101 * DOLLAR)
    assert desk.status(order_id) == "funds_held"
    assert desk.claim() == [("submit", order_id, "stop_limit", 101 * DOLLAR)]


def test_a_stop_far_below_the_price_goes_as_a_market_order_would(desk: Desk) -> None:
    """With the collar of the stop, 95.55, it would rest below a market of 100 for as long as that stays there."""
    order_id = desk.place("buy", "stop", 91 * DOLLAR)
    assert desk.free_and_held()[1] == 105 * DOLLAR
    assert desk.claim() == [("submit", order_id, "stop", 105 * DOLLAR)]


def test_a_stop_that_is_moved_below_the_price_can_still_buy(desk: Desk) -> None:
    old = desk.place("buy", "stop", 105 * DOLLAR)
    replace = """
    select outcome, resource_id from replace_orders_v1(%s, %s, %s, %s, array[null::int], array[null::bigint],
        array[null::bigint], array[91000000::bigint], array[null::text], %s)"""
    desk.now += timedelta(seconds=1)
    key = uuid.uuid4().hex
    [(outcome, new)] = desk.call(replace, [desk.user], [key], [b"f"], [old], desk.now)
    assert outcome == "accepted"
    assert desk.free_and_held()[1] == 105 * DOLLAR
    assert desk.claim() == [("submit", new, "stop", 105 * DOLLAR)]


def test_a_price_from_before_the_stop_was_armed_does_not_trigger_it(desk: Desk) -> None:
    desk.tell(110 * DOLLAR)
    desk.tell(100 * DOLLAR)
    order_id = desk.place("buy", "stop", 110 * DOLLAR)
    assert (desk.judge(), desk.send()) == (0, (0, 0))
    assert desk.trigger(110 * DOLLAR) == (1, 0)
    assert desk.status(order_id) == "funds_held"


def test_a_cancelled_stop_gives_its_hold_back_and_is_never_triggered(desk: Desk) -> None:
    free = desk.free_and_held()
    order_id = desk.place("buy", "stop", 110 * DOLLAR)
    assert desk.cancel(order_id) == "cancelled"
    assert desk.free_and_held() == free
    assert desk.trigger(120 * DOLLAR) == (0, 0)
    assert desk.status(order_id) == "cancelled"


def test_many_stops_of_one_customer_go_in_one_call_and_a_limit_bounds_it(desk: Desk) -> None:
    for _ in range(7):
        desk.place("buy", "stop", 101 * DOLLAR, qty=100_000)
    assert desk.trigger(101 * DOLLAR, limit=5) == (5, 0)
    assert desk.send(limit=5) == (2, 0)


def test_a_stop_of_a_held_user_is_deferred_not_lost(desk: Desk, cell_database: TestDatabase) -> None:
    order_id = desk.place("buy", "stop", 110 * DOLLAR)
    with psycopg.connect(cell_database.superuser_dsn) as other:
        other.execute("select 1 from brokerage.users where user_id = %s for update", [desk.user])
        assert desk.trigger(110 * DOLLAR) == (0, 1)
    assert desk.trigger(100 * DOLLAR) == (1, 0), "it was reached, however the price turned"
    assert desk.status(order_id) == "funds_held"


def test_a_cancel_and_a_trigger_race_and_one_of_them_wins(desk: Desk, cell_database: TestDatabase) -> None:
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as connection:
        other = Desk(connection)
        for _ in range(20):
            order_id = desk.place("buy", "stop", 110 * DOLLAR)
            with ThreadPoolExecutor(2) as threads:
                cancelled = threads.submit(desk.cancel, order_id)
                threads.submit(other.trigger, 120 * DOLLAR).result()
            assert cancelled.result() in ("cancelled", "DEFERRED")
            if cancelled.result() == "DEFERRED":
                assert desk.status(order_id) == "funds_held"
                assert desk.cancel(order_id) == "cancelled"
            desk.tell(100 * DOLLAR)
