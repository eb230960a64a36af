"""Paper trading: deterministic, never beyond the quantity, never worse than the limit, and busy enough to be useful."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.faults import Draws, Faults
from exchange.paper import Plan, plan_crossing, plan_order, refusal_of, split_quantity
from exchange.wire import OrdType, Side, Submit, TimeInForce

LAST_PX = 100_000_000


def order(
    number: int = 0,
    *,
    side: Side = "buy",
    qty: int = 100_000_000,
    limit_px: int | None = 100_500_000,
    tif: TimeInForce = "day",
    ord_type: OrdType = "limit",
) -> Submit:
    return Submit(
        cl_ord_id=f"order-{number}",
        account="u",
        symbol="AAPL",
        side=side,
        order_qty=qty,
        limit_px=limit_px,
        time_in_force=tif,
        ord_type=ord_type,
    )


def plan(terms: Submit, faults: Faults | None = None, at_us: int = 0) -> Plan:
    return plan_order(7, terms, last_px=LAST_PX, at_us=at_us, faults=faults or Faults())


def filled(made: Plan) -> int:
    return sum(step.qty for step in made.steps if step.kind == "fill")


@given(
    number=st.integers(0, 10**6),
    side=st.sampled_from(["buy", "sell"]),
    qty=st.integers(1, 10**12),
    limit_px=st.integers(1, 10**10),
    tif=st.sampled_from(["day", "gtc", "ioc", "fok"]),
)
def test_a_plan_is_repeatable_and_keeps_its_promises(
    number: int, side: Side, qty: int, limit_px: int, tif: TimeInForce
) -> None:
    terms = order(number, side=side, qty=qty, limit_px=limit_px, tif=tif)
    made = plan(terms)
    assert made == plan(terms)
    assert filled(made) <= qty
    moments = [step.at_us for step in made.steps]
    assert moments == sorted(moments)
    for step in made.steps:
        if step.kind == "fill":
            assert step.qty > 0
            assert step.px <= limit_px if side == "buy" else step.px >= limit_px
    if tif == "fok":
        assert filled(made) in (0, qty)
    if tif in ("ioc", "fok"):
        assert filled(made) == qty or made.steps[-1].kind == "cancelled"
        assert not made.waits


@pytest.mark.parametrize(("side", "limit_px"), [("buy", 100_500_000), ("sell", 99_500_000)])
def test_about_two_thirds_of_marketable_limits_fill_often_in_parts_and_soon(side: Side, limit_px: int) -> None:
    plans = [plan(order(number, side=side, limit_px=limit_px)) for number in range(2_000)]
    complete = [made for made in plans if filled(made) == 100_000_000]
    assert 0.62 < len(complete) / 2_000 < 0.70
    fills = Counter(len(made.steps) - 1 for made in complete)
    assert set(fills) == {1, 2, 3, 4}
    assert sum(fills[n] for n in (2, 3, 4)) > len(complete) / 2
    assert max(made.steps[-1].at_us for made in complete) < 400_000
    assert sum(1 for made in plans if filled(made) == 0) > 300


@pytest.mark.parametrize("limit_px", [None, 105_000_000])
def test_market_orders_always_fill(limit_px: int | None) -> None:
    for number in range(300):
        terms = order(number, limit_px=limit_px, ord_type="market")
        assert refusal_of(terms) is None
        assert filled(plan(terms)) == terms.order_qty


def test_what_is_not_marketable_waits_and_then_fills_at_its_limit() -> None:
    terms = order(limit_px=99_000_000)
    assert plan(terms).waits
    steps = plan_crossing(7, terms, leaves_qty=terms.order_qty, at_us=10)
    assert sum(step.qty for step in steps) == terms.order_qty
    assert {step.px for step in steps} == {99_000_000}


def test_rejects_are_off_unless_asked_for() -> None:
    rejecting = Faults(reject_rate=0.1)
    rejected = [plan(order(number), rejecting).steps[0].kind for number in range(1_000)].count("rejected")
    assert 60 < rejected < 140
    assert all(plan(order(number)).steps[0].kind == "accepted" for number in range(1_000))


@pytest.mark.parametrize(
    ("qty", "limit_px"), [(0, 1), (-1, 1), (10**15 + 1, 1), (1, 0), (1, -1), (1, 10**12 + 1), (1, None)]
)
def test_impossible_terms_are_named(qty: int, limit_px: int | None) -> None:
    assert refusal_of(order(qty=qty, limit_px=limit_px)) is not None


@given(qty=st.integers(1, 10**13), parts=st.integers(1, 4), key=st.text(max_size=5))
def test_parts_add_up(qty: int, parts: int, key: str) -> None:
    sizes = split_quantity(qty, parts, Draws(1, "split", key))
    assert sum(sizes) == qty
    assert all(size > 0 for size in sizes)
    assert len(sizes) <= parts


def test_whole_shares_are_split_into_whole_shares() -> None:
    for number in range(200):
        sizes = split_quantity(10_000_000, 4, Draws(1, "split", str(number)))
        assert all(size % 1_000_000 == 0 for size in sizes)
