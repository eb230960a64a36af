"""What a profile refuses, exactly at its limits: price band, position, order rate. The clock is the test's.

At a limit passes, one micro (or microsecond) beyond it is refused, with the figures that explain it. A refusal is
stored under its key and writes nothing else; professionals meet the price band only.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from fractions import Fraction

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.runtime.sql_files import read_sql
from tests.support.databases import TestDatabase
from tests.support.risk_desk import DOLLAR, RiskDesk
from tests.support.stopped_clock import stop_clock

MILLION = 1_000_000 * DOLLAR
SHARED_DATABASE = settings(
    max_examples=60, deadline=None, derandomize=False, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture
def desk(cell_database: TestDatabase) -> Iterator[RiskDesk]:
    stop_clock(cell_database.owner_dsn)
    desk = RiskDesk(cell_database.service_dsn)
    desk.price(100 * DOLLAR)
    with desk.connection:
        yield desk.open()
        for check in read_sql("cell", "checks"):
            assert desk.call(check.text) == [], check.name


# -- price band ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["retail", "professional"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_price_may_be_ten_percent_away_and_no_tick_more(desk: RiskDesk, profile: str, side: str) -> None:
    desk.open(profile).shares(10 * DOLLAR)
    for px, expected in [(110, "accepted"), (90, "accepted")]:
        assert desk.outcome(px=px * DOLLAR, side=side) == expected
    for px in (110 * DOLLAR + 1, 90 * DOLLAR - 1, 1_000_000 * DOLLAR, 1):
        outcome, order_id, _, figures = desk.place(px=px, side=side)
        assert (outcome, order_id) == ("PRICE_OUT_OF_BAND", None)
        assert figures is not None
        assert figures.pop("reference_at").endswith("Z")
        assert figures == {
            "field": "limit_price",
            "reference_price": 100 * DOLLAR,
            "band_pct": 10,
            "lowest": 90 * DOLLAR,
            "highest": 110 * DOLLAR,
        }
    assert desk.outcome(px=None, side=side) == "accepted", "a market order names no price"


def test_a_stop_price_is_judged_like_a_limit(desk: RiskDesk) -> None:
    assert desk.outcome(px=None, stop=110 * DOLLAR) == "accepted"
    _, _, _, figures = desk.place(px=100 * DOLLAR, stop=110 * DOLLAR + 1)
    assert figures is not None
    assert figures["field"] == "stop_price"
    outcome, _, _, figures = desk.place(px=89 * DOLLAR, stop=111 * DOLLAR)
    assert (outcome, (figures or {})["field"]) == ("PRICE_OUT_OF_BAND", "limit_price")


@SHARED_DATABASE
@given(reference=st.integers(1, 10**12), away=st.integers(-3, 3), edge=st.sampled_from(["lowest", "highest"]))
def test_the_edges_that_a_refusal_names_are_the_edges(desk: RiskDesk, reference: int, away: int, edge: str) -> None:
    name = f"T{reference}"[:12]
    desk.price(reference, name)
    [(low, high)] = desk.call(
        "select ceil(%s::numeric * 9 / 10)::bigint, div(%s::numeric * 11, 10)::bigint", reference, reference
    )
    px = max(1, (low if edge == "lowest" else high) + away)
    [(refused,)] = desk.call("select is_out_of_band_v1(%s, %s, 1000, null, null)", px, reference)
    assert refused == (abs(Fraction(px, reference) - 1) > Fraction(1, 10)) == (not low <= px <= high)


def test_without_a_reference_there_is_no_band_and_an_old_one_still_is_one(desk: RiskDesk) -> None:
    desk.call("select set_reference_prices_v1(array['OLD'], array[100000000], now() - interval '400 days')")
    assert desk.outcome(px=110 * DOLLAR, symbol="OLD") == "accepted"
    assert desk.outcome(px=111 * DOLLAR, symbol="OLD") == "PRICE_OUT_OF_BAND"


def test_a_symbol_nobody_priced_yet_takes_any_limit(desk: RiskDesk, cell_database: TestDatabase) -> None:
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
        root.execute("insert into brokerage.symbols (symbol) values ('NEW')")
    assert desk.outcome(px=490_000 * DOLLAR, symbol="NEW") == "accepted"
    assert desk.outcome(px=None, symbol="NEW") == "NO_REFERENCE_PRICE"
    outcome, _, _, figures = desk.place(px=11_000 * DOLLAR, symbol="NEW")
    assert (outcome, (figures or {})["current"]) == ("POSITION_LIMIT", 490_000 * DOLLAR)


def test_what_the_venue_admits_is_not_refused(desk: RiskDesk) -> None:
    bands = "select set_price_bands_v1(%s, %s::bigint[], %s::bigint[])"
    desk.call(bands, ["AAPL", "NOBODY"], [5 * DOLLAR, 1], [105 * DOLLAR, 2])
    assert [desk.outcome(px=px) for px in (5 * DOLLAR, 110 * DOLLAR)] == ["accepted", "accepted"]
    for px in (5 * DOLLAR - 1, 110 * DOLLAR + 1):
        outcome, _, _, figures = desk.place(px=px)
        assert outcome == "PRICE_OUT_OF_BAND"
        assert figures is not None
        assert (figures["lowest"], figures["highest"]) == (5 * DOLLAR, 110 * DOLLAR)
    desk.call(bands, [], [], [])
    assert desk.outcome(px=5 * DOLLAR) == "PRICE_OUT_OF_BAND", "the venue has no band of its own any more"


def test_a_replacement_is_judged_by_the_price_that_becomes_another(desk: RiskDesk) -> None:
    order_id = desk.place(2 * DOLLAR, 95 * DOLLAR)[1]
    stop_id = desk.place(2 * DOLLAR, None, stop=105 * DOLLAR)[1]
    desk.price(120 * DOLLAR)
    outcome, _, _, figures = desk.replace(order_id, px=107 * DOLLAR)
    assert (outcome, (figures or {})["lowest"]) == ("PRICE_OUT_OF_BAND", 108 * DOLLAR)
    assert desk.replace(stop_id, stop=133 * DOLLAR)[0] == "PRICE_OUT_OF_BAND"
    assert desk.replace(stop_id, stop=132 * DOLLAR)[0] == "accepted"
    outcome, order_id, *_ = desk.replace(order_id, qty=DOLLAR, px=95 * DOLLAR)
    assert outcome == "accepted", "only its quantity changes"
    assert desk.replace(order_id, px=108 * DOLLAR)[0] == "accepted"


# -- position ---------------------------------------------------------------------------------------------------------


def test_a_position_may_be_worth_half_a_million_and_no_micro_more(desk: RiskDesk) -> None:
    outcome, _, _, figures = desk.place(5_000 * DOLLAR + 1)
    assert (outcome, figures) == (
        "POSITION_LIMIT",
        {"limit": 500_000 * DOLLAR, "current": 0, "required": 500_000 * DOLLAR + 100},
    )
    first = desk.place(4_000 * DOLLAR)[1]
    assert desk.outcome(1_000 * DOLLAR + 1) == "POSITION_LIMIT"
    desk.price(10 * DOLLAR, "KO")
    assert desk.outcome(30_000 * DOLLAR, 10 * DOLLAR, symbol="KO") == "accepted", "another symbol has its own limit"
    desk.pass_time(60)
    assert desk.outcome(1_000 * DOLLAR) == "accepted"
    assert desk.outcome(1) == "POSITION_LIMIT"
    assert desk.outcome(1, None) == "POSITION_LIMIT", "a market order too"
    desk.cancel(first)
    desk.pass_time(60)
    assert desk.outcome(4_000 * DOLLAR) == "accepted"


def test_shares_count_at_the_reference_price_and_sales_are_free(desk: RiskDesk) -> None:
    desk.shares(4_000 * DOLLAR)
    desk.price(112_500_000)
    outcome, _, _, figures = desk.place(500 * DOLLAR, 112 * DOLLAR)
    assert outcome == "POSITION_LIMIT"
    assert figures == {"limit": 500_000 * DOLLAR, "current": 450_000 * DOLLAR, "required": 56_000 * DOLLAR}
    desk.price(111 * DOLLAR)
    assert desk.outcome(500 * DOLLAR, 112 * DOLLAR) == "accepted"
    desk.price(120 * DOLLAR)
    assert desk.outcome(1, 120 * DOLLAR) == "POSITION_LIMIT"
    assert desk.outcome(3_000 * DOLLAR, 120 * DOLLAR, side="sell") == "accepted", "what leaves is never too much"


def test_a_fill_turns_held_cash_into_shares(desk: RiskDesk) -> None:
    order_id = desk.place(4_000 * DOLLAR)[1]
    desk.fill(order_id, 3_000 * DOLLAR, 98 * DOLLAR)
    desk.price(90 * DOLLAR)  # 270,000 of shares, 100,000 still held
    _, _, _, figures = desk.place(2_000 * DOLLAR, 90 * DOLLAR)
    assert figures is not None
    assert (figures["current"], figures["required"]) == (370_000 * DOLLAR, 180_000 * DOLLAR)
    assert desk.outcome(1_300 * DOLLAR, 100 * DOLLAR) == "PRICE_OUT_OF_BAND"
    desk.pass_time(60)
    assert desk.outcome(1_300 * DOLLAR, 99 * DOLLAR) == "accepted"


def test_an_old_open_buy_is_found_behind_many_that_ended(desk: RiskDesk) -> None:
    desk.place(4_500 * DOLLAR)
    for _ in range(70):
        desk.pass_time(60)
        desk.cancel(desk.place(DOLLAR)[1])
    outcome, _, _, figures = desk.place(501 * DOLLAR)
    assert (outcome, (figures or {})["current"]) == ("POSITION_LIMIT", 450_000 * DOLLAR)


def test_a_replacement_that_holds_no_more_is_never_beyond_the_position(desk: RiskDesk) -> None:
    order_id = desk.place(4_000 * DOLLAR)[1]
    desk.shares(1_000 * DOLLAR)
    desk.price(105 * DOLLAR)
    desk.pass_time(60)
    outcome, _, _, figures = desk.replace(order_id, qty=4_001 * DOLLAR)
    assert (outcome, figures) == (
        "POSITION_LIMIT",
        {"limit": 500_000 * DOLLAR, "current": 105_000 * DOLLAR, "required": 400_100 * DOLLAR},
    )
    outcome, order_id, *_ = desk.replace(order_id, qty=3_999 * DOLLAR)
    assert outcome == "accepted", "beyond the limit, and less than before"
    desk.pass_time(60)
    assert desk.replace(order_id, qty=3_950 * DOLLAR)[0] == "accepted"


def test_a_professional_has_no_limits_but_the_band(desk: RiskDesk) -> None:
    desk.open("professional", cash=100 * MILLION)
    assert {desk.outcome(10_000 * DOLLAR) for _ in range(70)} == {"accepted"}
    [(ats, values)] = desk.call(
        "select recent_order_ats, recent_order_values from brokerage.users where user_id = %s", desk.user
    )
    assert (ats, values) == ([], []), "nothing is kept that nobody asks for"
    desk.call("select set_profile_v1(%s, 'retail', 'o', 'r')", desk.user)
    assert desk.outcome(1) == "POSITION_LIMIT"
    assert desk.outcome(DOLLAR, symbol="MSFT") == "UNKNOWN_SYMBOL"


# -- order rate -------------------------------------------------------------------------------------------------------


def test_ten_orders_in_any_second(desk: RiskDesk) -> None:
    began = desk.now
    for number in range(10):
        desk.now = began + timedelta(milliseconds=100 * number)
        assert desk.outcome() == "accepted"
    desk.now = began + timedelta(seconds=1) - timedelta(microseconds=1)
    assert desk.place() == (
        "ORDER_RATE_LIMIT", None, False, {"unit": "orders", "window_s": 1, "limit": 10, "current": 10},
    )  # fmt: skip
    desk.now = began + timedelta(seconds=1)
    assert desk.outcome() == "accepted", "the first one is a second old, to the microsecond"
    assert desk.outcome() == "ORDER_RATE_LIMIT", "the second one is not"


def test_sixty_orders_in_any_minute(desk: RiskDesk) -> None:
    began = desk.now
    for number in range(60):
        desk.now = began + timedelta(milliseconds=900 * number)
        assert desk.outcome() == "accepted"
    desk.now = began + timedelta(seconds=60) - timedelta(microseconds=1)
    outcome, _, _, figures = desk.place()
    assert (outcome, figures) == (
        "ORDER_RATE_LIMIT",
        {"unit": "orders", "window_s": 60, "limit": 60, "current": 60},
    )
    desk.now = began + timedelta(seconds=60)
    assert desk.outcome() == "accepted"
    [(kept,)] = desk.call("select cardinality(recent_order_ats) from brokerage.users where user_id = %s", desk.user)
    assert kept == 60, "the record keeps a minute, no more"


def test_a_million_dollars_in_any_minute(desk: RiskDesk) -> None:
    desk.shares(14_000 * DOLLAR)
    assert desk.outcome(4_000 * DOLLAR, side="sell") == "accepted"
    desk.pass_time(1)
    assert desk.outcome(5_000 * DOLLAR, 100 * DOLLAR, side="sell") == "accepted"
    assert desk.outcome(1_000 * DOLLAR + 1, 100 * DOLLAR, side="sell") == "ORDER_RATE_LIMIT"
    outcome, _, _, figures = desk.place(1_001 * DOLLAR, None, side="sell")
    assert (outcome, figures) == (
        "ORDER_RATE_LIMIT",
        {"unit": "USD", "window_s": 60, "limit": MILLION, "current": 900_000 * DOLLAR, "required": 100_100 * DOLLAR},
    )
    assert desk.outcome(1_000 * DOLLAR, None, side="sell") == "accepted", "a market sale counts at the reference price"
    assert desk.outcome(1, 100 * DOLLAR, side="sell") == "ORDER_RATE_LIMIT"
    desk.pass_time(59)
    assert desk.outcome(4_000 * DOLLAR, 100 * DOLLAR, side="sell") == "accepted", "the first one is a minute old"


def test_refusals_and_replays_count_nothing_and_replacements_count(desk: RiskDesk) -> None:
    for _ in range(15):
        assert desk.outcome(px=200 * DOLLAR) == "PRICE_OUT_OF_BAND"
        assert desk.outcome(1, side="sell") == "INSUFFICIENT_SHARES"
    order_id = desk.place(key="one")[1]
    for _ in range(15):
        assert desk.place(key="one")[1:3] == (order_id, True)
    for number in range(9):
        outcome, order_id, *_ = desk.replace(order_id, px=(99 - number) * DOLLAR)
        assert outcome == "accepted"
    assert desk.replace(order_id, px=99 * DOLLAR)[0] == desk.outcome() == "ORDER_RATE_LIMIT"
    desk.cancel(order_id)
    assert desk.outcome() == "ORDER_RATE_LIMIT", "a cancelled order was an order"


def test_a_replacement_is_worth_what_is_left_of_it(desk: RiskDesk) -> None:
    order_id = desk.place(4_000 * DOLLAR)[1]
    desk.fill(order_id, 1_000 * DOLLAR, 100 * DOLLAR)
    outcome, order_id, *_ = desk.replace(order_id, qty=3_000 * DOLLAR)
    assert outcome == "accepted"
    [(values,)] = desk.call("select recent_order_values from brokerage.users where user_id = %s", desk.user)
    assert values == [400_000 * DOLLAR, 200_000 * DOLLAR]


def test_clocks_of_two_servers_that_differ(desk: RiskDesk) -> None:
    desk.pass_time(2)
    for _ in range(10):
        assert desk.outcome() == "accepted"
    desk.pass_time(-2)
    assert desk.outcome() == "ORDER_RATE_LIMIT", "orders of a clock that is ahead are orders all the same"
    desk.pass_time(-3600)
    assert desk.outcome() == "accepted", "a clock that was an hour ahead does not lock the account for an hour"


def test_a_refused_key_answers_for_ever_and_another_key_tries_again(desk: RiskDesk) -> None:
    for _ in range(10):
        desk.place()
    refused = desk.place(key="again")
    assert refused[0] == "ORDER_RATE_LIMIT"
    writes = desk.call("select write_seq, cash_micros from brokerage.users where user_id = %s", desk.user)
    desk.pass_time(3600)
    assert desk.place(key="again") == (refused[0], None, True, refused[3])
    assert desk.place(key="again", mark=b"other")[0] == "IDEMPOTENCY_KEY_REUSED"
    assert desk.call("select write_seq, cash_micros from brokerage.users where user_id = %s", desk.user) == writes
    assert desk.outcome(key="new") == "accepted"


def test_two_servers_together_take_ten_orders_a_second(desk: RiskDesk, cell_database: TestDatabase) -> None:
    servers = [RiskDesk(cell_database.service_dsn, user=desk.user) for _ in range(8)]
    with ThreadPoolExecutor(len(servers)) as threads:
        answers = threads.map(lambda server: [server.outcome(wait=True) for _ in range(5)], servers)
        outcomes = [outcome for answer in answers for outcome in answer]
    assert sorted(outcomes) == ["ORDER_RATE_LIMIT"] * 30 + ["accepted"] * 10
    for server in servers:
        server.connection.close()


def test_a_restricted_account_closes_within_its_limits(desk: RiskDesk) -> None:
    """A late fill sells shares that were sold again: five are owed, and may be bought back, but not at any price."""
    desk.shares(10 * DOLLAR)
    first = desk.place(10 * DOLLAR, side="sell")[1]
    desk.fill(first, 5 * DOLLAR, 100 * DOLLAR)
    desk.report(first, kind="cancelled")
    second = desk.place(5 * DOLLAR, side="sell")[1]
    desk.fill(first, 5 * DOLLAR, 100 * DOLLAR)
    desk.fill(second, 5 * DOLLAR, 100 * DOLLAR)
    assert desk.outcome(6 * DOLLAR, 120 * DOLLAR) == "ACCOUNT_RESTRICTED", "said first, whatever else is wrong"
    assert desk.outcome(5 * DOLLAR, 120 * DOLLAR) == "PRICE_OUT_OF_BAND"
    for _ in range(8):
        outcome, closing, *_ = desk.place(5 * DOLLAR)
        assert outcome == "accepted"
        desk.cancel(closing)
    assert desk.outcome(5 * DOLLAR) == "ORDER_RATE_LIMIT"


@SHARED_DATABASE
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 99_999, 100_000, 999_999, 1_000_000, 5_999_999, 6_000_000, 30_000_000]),
            st.integers(1, 3_000),
        ),
        max_size=90,
    )
)
def test_any_rhythm_of_orders_meets_exactly_the_windows(desk: RiskDesk, steps: list[tuple[int, int]]) -> None:
    """Against a list of everything that was accepted, by the definition of the windows."""
    desk.open(cash=1000 * MILLION)
    desk.shares(10**9 * DOLLAR // 1000)
    accepted: list[tuple[int, int]] = []
    at = 0
    for pause_us, shares in steps:
        at += pause_us
        desk.now += timedelta(microseconds=pause_us)
        worth = shares * 100 * DOLLAR
        minute = [value for then, value in accepted if then > at - 60_000_000]
        in_second = sum(then > at - 1_000_000 for then, _ in accepted)
        allowed = in_second < 10 and len(minute) < 60 and sum(minute) + worth <= MILLION
        assert desk.outcome(shares * DOLLAR, side="sell") == ("accepted" if allowed else "ORDER_RATE_LIMIT")
        if allowed:
            accepted.append((at, worth))


def test_a_batch_judges_each_by_their_own_profile(desk: RiskDesk) -> None:
    users: list[tuple[uuid.UUID, str]] = []
    for number in range(8):
        desk.open("retail" if number % 2 else "professional")
        users.append((desk.user, "POSITION_LIMIT" if number % 2 else "accepted"))
    n = len(users)
    rows = desk.call(
        "select outcome from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, %s, %s::bigint[], "
        "%s::bigint[], now(), interval '1 hour') order by ordinal",
        [user for user, _ in users], [f"k{i}" for i in range(n)], [b"f"] * n, [None] * n,
        ["AAPL"] * n, ["buy"] * n, ["limit"] * n, ["day"] * n, [6_000 * DOLLAR] * n, [100 * DOLLAR] * n,
    )  # fmt: skip
    assert [row[0] for row in rows] == [expected for _, expected in users]
