"""Orders around the session: queued for the open, refused, released once, expired at the close; by our own clock."""

import uuid
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cell.executions.metrics import WORKER_METRICS
from cell.executions.queries import write_sessions
from cell.executions.trading_hours import LATE_COMMITS_S, TradingHours
from infra.runtime.database import Pool, make_pool
from infra.runtime.market_calendar import TradingSession, xnys_sessions
from infra.runtime.settings import PostgresSettings
from infra.runtime.sql_files import read_sql
from infra.runtime.telemetry import Metrics
from tests.support.databases import TestDatabase
from tests.support.moved_metrics import assert_moved
from tests.support.stopped_clock import SET_TIME, SentTime, stop_clock

pytestmark = pytest.mark.anyio

DOLLAR = 1_000_000
HOURS = "XNYS"
PLACE = """
select outcome, resource_id, figures
  from place_orders_v1(%s, %s, %s, array[null::text], array['AAPL'], %s, %s, %s, array[1000000], %s, %s,
                                 interval '1 hour', p_stop_pxs => %s, p_market_hours => 'XNYS')
"""
DONE = ("filled", "cancelled", "expired", "rejected")


def new_york(day: str, utc: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{utc}:00+00:00")


OPEN_FRIDAY = new_york("2026-11-20", "17:00")
SATURDAY = new_york("2026-11-21", "15:00")
NEVER_STALE = new_york("2028-01-01", "12:00")
"""After every time that a test here sets, and in no session: not the real time, which is in one when people work."""


class TestClock:
    __test__ = False

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        self.seconds += 1_000.0
        return self.seconds


class Market:
    """One cell in sessions, one customer, a clock that only the test moves."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], pool: Pool) -> None:
        self.connection = connection
        self.clock = TestClock(OPEN_FRIDAY)
        self._sent_time = SentTime()
        self.user = uuid.uuid4()
        self.metrics = Metrics(WORKER_METRICS)
        self.hours = TradingHours(pool, cell="cell-1", market_hours=HOURS, clock=self.clock, metrics=self.metrics)
        self.venue_seq = 0

    async def call(self, query: str, *parameters: object) -> list[Any]:
        if news := self._sent_time.news(self.clock.at):
            await self.connection.execute(SET_TIME, [news])
        return await (await self.connection.execute(query, parameters or None)).fetchall()

    async def open_account(self) -> uuid.UUID:
        user = uuid.uuid4()
        await self.call("select 1 from open_account_v1(%s, 1, 'retail', %s, null, 'x')", user, user.hex)
        for verb, what in [
            ("deposit_cash", "array[1000000000]"),
            ("transfer_shares", "array['AAPL'], array[9000000], array[1], true"),
        ]:
            columns = [user], [uuid.uuid4().hex], [b"f"]
            await self.call(f"select 1 from {verb}_v1(%s, %s, %s, {what})", *columns)
        return user

    async def place(
        self, *, side: str = "buy", limit: int | None = 100 * DOLLAR, stop: int | None = None, tif: str = "day",
        user: uuid.UUID | None = None,
    ) -> tuple[str, Any, Any]:  # fmt: skip
        kind = {(True, False): "limit", (False, False): "market", (False, True): "stop", (True, True): "stop_limit"}
        rows = await self.call(
            PLACE, [user or self.user], [uuid.uuid4().hex], [b"f"], [side],
            [kind[limit is not None, stop is not None]], [tif], [limit], self.clock.at, [stop],
        )  # fmt: skip
        return rows[0][0], rows[0][1], rows[0][2]

    async def accepted(self, **terms: Any) -> uuid.UUID:
        outcome, order_id, figures = await self.place(**terms)
        assert outcome == "accepted", (outcome, figures)
        assert await self.status(order_id) == figures["status"]
        assert isinstance(order_id, uuid.UUID)
        return order_id

    async def status(self, order_id: uuid.UUID) -> str:
        ((status,),) = await self.call("select status from brokerage.orders where order_id = %s", order_id)
        return str(status)

    async def claim(self) -> list[str]:
        query = "select action from claim_instructions_v1(64)"
        actions: list[str] = []
        while rows := await self.call(query):
            actions += [row[0] for row in rows]
        return actions

    async def tell(self, order_id: uuid.UUID, kind: str, **fields: object) -> None:
        self.venue_seq += 1
        body = {"kind": kind, "trade_date": self.clock.at.date().isoformat(), "at": self.clock.at.isoformat(), **fields}
        ((inbox_id,),) = await self.call(
            "select inbox_id from accept_reports_v1('exchange', 'cell-1', %s::bigint[], %s, %s::jsonb[], %s)",
            [self.venue_seq], [order_id], [Jsonb(body)], self.clock.at,
        )  # fmt: skip
        rows = await self.call(
            "select outcome from apply_reports_v1(%s::bigint[], %s)",
            [inbox_id], self.clock.at.date() + timedelta(days=1),
        )  # fmt: skip
        assert rows == [("applied",)]

    async def held(self) -> int:
        rows = await self.call("select sum(cash_held_micros)::bigint from brokerage.users")
        return int(rows[0][0])


@pytest.fixture
async def market(cell_database: TestDatabase) -> AsyncIterator[Market]:
    await write_sessions(cell_database.owner_dsn, xnys_sessions([2026, 2027]), new_york("2026-01-01", "00:00"))
    await _forget_past_sessions(cell_database)
    stop_clock(cell_database.owner_dsn)
    pool = make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test-market", size=2)
    async with pool, await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        market = Market(connection, pool)
        await market.call("select set_reference_prices_v1(array['AAPL'], array[100000000], %s)", NEVER_STALE)
        market.user = await market.open_account()
        yield market
        for check in read_sql("cell", "checks"):
            assert await market.call(check.text) == [], check.name


async def _forget_past_sessions(database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(database.superuser_dsn, autocommit=True) as connection:
        await connection.execute(
            "update brokerage.market_sessions set expired_at = closes_at "
            "where closes_at < %s and trade_date <> '2026-07-02'",
            [OPEN_FRIDAY],
        )


async def test_in_the_session_orders_go_at_once(market: Market) -> None:
    order_id = await market.accepted()
    assert await market.status(order_id) == "funds_held"
    assert await market.claim() == ["submit"]


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        (SATURDAY, new_york("2026-11-23", "14:30")),
        (new_york("2026-11-20", "21:00"), new_york("2026-11-23", "14:30")),  # the very close
        (new_york("2026-11-25", "21:30"), new_york("2026-11-27", "14:30")),  # over Thanksgiving
        (new_york("2026-11-27", "18:00"), new_york("2026-11-30", "14:30")),  # after a half day
        (new_york("2026-03-06", "21:00"), new_york("2026-03-09", "13:30")),  # over the change to summer time
        (new_york("2026-10-30", "20:00"), new_york("2026-11-02", "14:30")),  # and back
        (new_york("2026-12-31", "22:00"), new_york("2027-01-04", "14:30")),
    ],
)
async def test_outside_the_session_an_order_waits_for_the_next_open(
    market: Market, at: datetime, opens: datetime
) -> None:
    market.clock.at = at
    order_id = await market.accepted()
    assert await market.status(order_id) == "queued"
    assert await market.claim() == []
    assert await market.call("select release_at from brokerage.queued_orders") == [(opens,)]
    market.clock.at = opens - timedelta(microseconds=1)
    await market.hours.keep()
    assert await market.status(order_id) == "queued"
    market.clock.at = opens
    await market.hours.keep()
    assert await market.status(order_id) == "funds_held"
    assert await market.claim() == ["submit"]
    await market.hours.keep()
    assert await market.claim() == [], "released once"
    assert_moved(market.metrics.render(), "cell_orders_released_total")
    assert_moved(market.metrics.render(), "cell_trading_sessions_ahead")


@pytest.mark.parametrize("tif", ["ioc", "fok"])
async def test_what_cannot_wait_is_refused_with_the_next_open(market: Market, tif: str) -> None:
    market.clock.at = SATURDAY
    outcome, order_id, figures = await market.place(tif=tif)
    assert (outcome, order_id, figures) == ("MARKET_CLOSED", None, {"opens_at": "2026-11-23T14:30:00Z"})
    assert await market.held() == 0


@pytest.mark.parametrize(
    ("at", "tif", "opens_at"),
    [
        (SATURDAY, "ioc", "2026-11-23T14:30:00Z"),
        (SATURDAY, "fok", "2026-11-23T14:30:00Z"),
        (new_york("2031-01-02", "17:00"), "day", None),
    ],
)
async def test_what_waits_cannot_become_what_does_not(
    market: Market, at: datetime, tif: str, opens_at: str | None
) -> None:
    """A replacement has no way around what is refused when an order is placed."""
    market.clock.at = SATURDAY
    old = await market.accepted(tif="gtc")
    market.clock.at = at
    replace = """
    select outcome, figures, resource_id from replace_orders_v1(
        %s, %s, %s, %s, array[null::int], array[null::bigint], array[null::bigint], array[null::bigint], %s, %s,
        p_market_hours => 'XNYS')"""
    one = [market.user], [uuid.uuid4().hex], [b"f"], [old]
    ((outcome, figures, _),) = await market.call(replace, *one, [tif], at)
    assert (outcome, figures) == ("MARKET_CLOSED", {"opens_at": opens_at})
    assert await market.status(old) == "queued"
    if opens_at is not None:
        one = [market.user], [uuid.uuid4().hex], [b"f"], [old]
        ((outcome, _, _),) = await market.call(replace, *one, ["day"], at)
        assert outcome == "accepted"


async def test_without_a_calendar_nothing_is_accepted_that_nobody_would_ever_release(market: Market) -> None:
    market.clock.at = new_york("2031-01-02", "17:00")
    outcome, _, figures = await market.place()
    assert (outcome, figures) == ("MARKET_CLOSED", {"opens_at": None})


async def test_a_queued_order_can_be_cancelled_and_is_never_released(market: Market) -> None:
    market.clock.at = SATURDAY
    order_id = await market.accepted(limit=None)
    assert await market.held() == 105 * DOLLAR, "a market order is sized by the last price of the last session"
    query = "select outcome from cancel_orders_v1(%s, %s, %s, %s)"
    assert await market.call(query, [market.user], ["k"], [b"f"], [order_id]) == [("cancelled",)]
    market.clock.at = new_york("2026-11-23", "14:31")
    await market.hours.keep()
    assert (await market.status(order_id), await market.held()) == ("cancelled", 0)


async def test_stops_are_armed_at_any_hour_and_triggered_only_in_a_session(market: Market) -> None:
    market.clock.at = SATURDAY
    order_id = await market.accepted(limit=None, stop=99 * DOLLAR, tif="gtc")
    assert await market.status(order_id) == "armed"
    again = "select set_reference_prices_v1(array['AAPL'], array[100000000], %s, array[7])"
    trigger = "select judge_stops_v1(9, 'XNYS'), triggered from trigger_reached_stops_v1(9, %s, 'XNYS')"
    at = SATURDAY + timedelta(hours=1)
    await market.call(again, at)
    assert await market.call(trigger, at) == [(0, 0)]
    at = new_york("2026-11-23", "14:30")
    await market.call(again, at)
    assert await market.call("select judge_stops_v1(9, 'XNYS')") == [(1,)], "the same price, told in a session"
    assert await market.call("select triggered from trigger_reached_stops_v1(9, %s, 'XNYS')", at) == [(1,)]


@pytest.mark.parametrize(
    ("day", "closes"),
    [("2026-11-20", "21:00"), ("2026-11-27", "18:00"), ("2026-07-02", "20:00"), ("2026-12-24", "18:00")],
)
async def test_day_orders_end_at_the_close_and_others_do_not(market: Market, day: str, closes: str) -> None:
    market.clock.at = new_york(day, "16:00")
    unsent, armed = await market.accepted(), await market.accepted(stop=101 * DOLLAR)
    gtc = await market.accepted(tif="gtc")
    at_close = new_york(day, closes)
    market.clock.at = at_close - timedelta(microseconds=1)
    await market.hours.keep()
    assert [await market.status(order) for order in (unsent, armed, gtc)] == ["funds_held", "armed", "funds_held"]
    market.clock.at = at_close
    await market.hours.keep()
    assert [await market.status(order) for order in (unsent, armed, gtc)] == ["expired", "expired", "funds_held"]
    assert await market.held() == 100 * DOLLAR, "of the order that is good till cancelled"
    assert await market.claim() == ["submit"]
    assert_moved(market.metrics.render(), "cell_orders_expired_total")


async def test_an_order_at_the_venue_keeps_its_funds_until_the_venue_confirms_its_end(market: Market) -> None:
    filled, partly, ends_itself = [await market.accepted() for _ in range(3)]
    assert await market.claim() == ["submit"] * 3
    fill = {"exec_id": "e1", "last_px": 100 * DOLLAR}
    await market.tell(filled, "fill", last_qty=DOLLAR, **fill)
    await market.tell(partly, "fill", last_qty=DOLLAR // 4, **fill)
    market.clock.at = new_york("2026-11-20", "21:00")
    await market.hours.keep()
    assert [await market.status(order) for order in (filled, partly, ends_itself)] == [
        "filled",
        *["pending_cancel"] * 2,
    ]
    assert await market.held() == 175 * DOLLAR
    assert await market.claim() == ["expire"] * 2
    await market.tell(partly, "cancelled", reason="cancelled on request")
    await market.tell(ends_itself, "expired")
    assert [await market.status(order) for order in (partly, ends_itself)] == ["expired", "expired"]
    assert await market.held() == 0
    market.clock.at += timedelta(seconds=LATE_COMMITS_S)
    await market.hours.keep()
    rows = await market.call(
        "select expired_at is not null from brokerage.market_sessions where trade_date = '2026-11-20'"
    )
    assert rows == [(True,)]


async def test_a_venue_that_refuses_the_end_is_asked_again(market: Market) -> None:
    order_id = await market.accepted()
    await market.claim()
    market.clock.at = new_york("2026-11-20", "21:00")
    await market.hours.keep()
    assert await market.claim() == ["expire"]
    await market.tell(order_id, "cancel_rejected", reason="broker option")
    assert await market.status(order_id) == "routed"
    market.clock.at += timedelta(minutes=1)
    await market.hours.keep()
    assert await market.claim() == ["expire"]
    await market.tell(order_id, "cancelled")
    assert await market.status(order_id) == "expired"


async def test_an_order_of_the_last_moment_that_commits_after_the_first_pass_expires_too(market: Market) -> None:
    at_close = new_york("2026-11-20", "21:00")
    market.clock.at = at_close
    await market.hours.keep()
    market.clock.at = at_close - timedelta(microseconds=1)
    late = await market.accepted()
    market.clock.at = at_close + timedelta(seconds=LATE_COMMITS_S)
    await market.hours.keep()
    assert await market.status(late) == "expired"


async def test_a_queued_day_order_whose_session_passed_unseen_expires_and_is_not_released(market: Market) -> None:
    market.clock.at = SATURDAY
    day, gtc = await market.accepted(), await market.accepted(tif="gtc")
    market.clock.at = new_york("2026-11-24", "15:00")  # nobody worked on Monday
    await market.hours.keep()
    assert [await market.status(order) for order in (day, gtc)] == ["expired", "funds_held"]


@pytest.mark.parametrize("becomes", ["half a day", "a holiday"])
async def test_a_session_that_is_changed_after_orders_came_for_it_strands_none(
    market: Market, cell_database: TestDatabase, becomes: str
) -> None:
    """A day of mourning is announced days ahead, an early close on the day."""
    market.clock.at = SATURDAY
    queued = await market.accepted()
    market.clock.at = SATURDAY + timedelta(hours=1)
    sessions = [session for session in xnys_sessions([2026, 2027]) if session.trade_date != date(2026, 11, 23)]
    if becomes == "half a day":
        half = TradingSession(date(2026, 11, 23), new_york("2026-11-23", "14:30"), new_york("2026-11-23", "18:00"))
        sessions = sorted([*sessions, half], key=lambda session: session.trade_date)
    assert await write_sessions(cell_database.owner_dsn, sessions, market.clock.at) == 1
    market.clock.at = new_york("2026-11-23", "16:00")
    await market.hours.keep()
    assert await market.status(queued) == ("funds_held" if becomes == "half a day" else "queued")
    market.clock.at = new_york("2026-11-23", "21:00")
    await market.hours.keep()
    assert (await market.status(queued), await market.held()) == ("expired", 0)


async def test_many_orders_of_many_customers_end_in_bounded_steps_around_a_held_one(
    market: Market, cell_database: TestDatabase
) -> None:
    users = [await market.open_account() for _ in range(5)]
    orders = {user: [await market.accepted(user=user) for _ in range(4)] for user in users}
    market.clock.at = new_york("2026-11-20", "21:01")
    async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn) as other:
        await other.execute("select 1 from brokerage.users where user_id = %s for update", [users[0]])
        after: uuid.UUID | None = uuid.UUID(int=0)
        pages = deferred = 0
        while after is not None:
            query = "select * from expire_day_orders_v1(%s, %s, 3, %s)"
            ((after, _, _, missed, _),) = await market.call(
                query, new_york("2026-11-20", "21:00"), after, market.clock.at
            )
            pages, deferred = pages + 1, deferred + missed
        await market.hours.keep()
        assert_moved(market.metrics.render(), "cell_orders_past_close")
    assert (pages, deferred) == (8, 4), "seven pages, and one that says there are no more"
    assert {await market.status(order) for user in users[1:] for order in orders[user]} == {"expired"}
    assert {await market.status(order) for order in orders[users[0]]} == {"funds_held"}
    market.clock.seconds += 3_600  # beyond the pause between two passes
    await market.hours.keep()
    assert {await market.status(order) for order in orders[users[0]]} == {"expired"}


@pytest.mark.parametrize(
    ("traded", "settles"),
    [("2026-11-20", date(2026, 11, 23)), ("2026-11-25", date(2026, 11, 27)), ("2026-12-24", date(2026, 12, 28))],
)
async def test_a_sale_settles_on_the_next_session_day(market: Market, traded: str, settles: date) -> None:
    market.clock.at = new_york(traded, "16:00")
    order_id = await market.accepted(side="sell")
    await market.claim()
    await market.tell(order_id, "fill", exec_id="e1", last_qty=DOLLAR, last_px=100 * DOLLAR)
    assert await market.call("select settles_on, amount_micros from brokerage.unsettled_lots") == [(settles, 10**8)]


async def test_the_calendar_is_written_once_and_changes_only_what_lies_ahead(
    market: Market, cell_database: TestDatabase
) -> None:
    sessions = xnys_sessions([2026, 2027])
    assert await write_sessions(cell_database.owner_dsn, sessions, OPEN_FRIDAY) == 0
    without = [s for s in sessions if s.trade_date not in (date(2026, 11, 19), date(2026, 11, 24))]
    assert await write_sessions(cell_database.owner_dsn, without, OPEN_FRIDAY) == 1, "yesterday is history"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await write_sessions(cell_database.service_dsn, sessions, OPEN_FRIDAY)
