"""The reconciliation is silent when all is equal and precise when it is not."""

from dataclasses import replace

import pytest

from loadtests.replay.books import sums_of
from loadtests.replay.reconcile import (
    CellSums,
    Funding,
    SeenOrder,
    compare_cell,
    compare_customer,
    compare_order,
    expected_cell,
    expected_customer,
    others_traded,
)
from loadtests.replay.tape_file import parse_tape
from loadtests.replay.tape_plan import TapePlan, plan_tape

TAPE = """\
1,1,100,50,5850000,1
2,1,200,30,5860000,-1
3,4,100,20,5850000,1
4,3,100,30,5850000,1
5,4,200,10,5860000,-1
6,1,300,10,5840000,1
"""
FUNDING = Funding(cash_micros=100_000_000_000, qty_micros=30_000_000)
EQUAL = SeenOrder(
    order_id="0190-1",
    side="buy",
    status="cancelled",
    qty_micros=50_000_000,
    limit_price_micros=585_000_000,
    cum_qty_micros=20_000_000,
    leaves_qty_micros=0,
    fills=((20_000_000, 585_000_000),),
)


def plan_of(customers: int = 1) -> TapePlan:
    return plan_tape(parse_tape(TAPE, "tape.csv"), file="tape.csv", customers=customers)


def test_an_equal_order_says_nothing() -> None:
    assert compare_order(plan_of().orders[0], EQUAL) == []


def test_a_missing_order_is_named_with_its_line() -> None:
    (difference,) = compare_order(plan_of().orders[0], None)
    assert difference == "tape order 100 (line 1, customer 0): the customer has no such order"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "partially_filled"}, "state: the tape says cancelled, the platform says partially_filled"),
        ({"side": "sell"}, "side: the tape says buy"),
        ({"cum_qty_micros": 19_000_000}, "filled quantity: the tape says 20, the platform says 19"),
        ({"leaves_qty_micros": 30_000_000}, "open quantity: the tape says 0, the platform says 30"),
        ({"limit_price_micros": 585_010_000}, "limit price: the tape says 585.00, the platform says 585.01"),
        ({"fills": ()}, "fills: the tape says 20 at 585.00, the platform says none"),
        (
            {"fills": ((20_000_000, 585_000_000), (20_000_000, 585_000_000))},
            "cost in micro-dollars: the tape says 11700000000, the platform says 23400000000",
        ),
    ],
)
def test_each_difference_is_told(change: dict[str, object], words: str) -> None:
    found = compare_order(plan_of().orders[0], replace(EQUAL, **change))  # type: ignore[arg-type]
    assert any(words in difference for difference in found)


def test_two_fills_in_the_wrong_order_are_a_difference() -> None:
    text = "1,1,100,50,5850000,1\n2,4,100,20,5850000,1\n3,4,100,30,5849900,1\n"
    (order,) = plan_tape(parse_tape(text, "tape.csv"), file="tape.csv", customers=1).orders
    fills = ((30_000_000, 584_990_000), (20_000_000, 585_000_000))
    seen = replace(EQUAL, status="filled", cum_qty_micros=50_000_000, fills=fills)
    (difference,) = compare_order(order, seen)
    assert "fills: the tape says 20 at 585.00; 30 at 584.99" in difference


def test_a_customers_money_follows_their_fills() -> None:
    (customer,) = plan_of().customers
    expected = expected_customer(customer, FUNDING)
    assert expected.cash_micros == FUNDING.cash_micros - 20 * 585_000_000 + 10 * 586_000_000
    assert expected.cash_held_micros == 10 * 584_000_000, "only the order left open still holds cash"
    assert expected.qty_micros == 30_000_000 + 20_000_000 - 10_000_000
    assert expected.qty_held_micros == 20_000_000
    assert compare_customer(customer, FUNDING, expected) == []
    off_by_one = replace(expected, cash_micros=expected.cash_micros + 1)
    (difference,) = compare_customer(customer, FUNDING, off_by_one)
    assert difference.startswith("customer 0: cash, micro-dollars: the tape says ")


def test_a_cell_must_have_grown_by_its_customers() -> None:
    plan = plan_of(customers=2)
    fundings = {0: FUNDING, 1: FUNDING}
    expected = expected_cell(plan.customers, fundings)
    assert (expected.users, expected.orders, expected.executions) == (2, 3, 2)
    before = CellSums(5, 7, 1, 10, 0, 3, 0)
    after = CellSums(*(getattr(before, name) + getattr(expected, name) for name in CellSums.__dataclass_fields__))
    assert compare_cell("cell-1", expected, after.minus(before)) == []
    (difference,) = compare_cell("cell-1", expected, replace(after, executions=2).minus(before))
    assert difference == "cell cell-1: executions: the tape says 2, the platform says 1"
    (difference,) = compare_cell("cell-1", expected, replace(after, cash_micros=after.cash_micros - 1).minus(before))
    assert "cash, micro-dollars" in difference


def test_others_who_trade_in_the_cell_make_its_totals_say_nothing() -> None:
    expected = CellSums(2, 3, 2, 100, 10, 5, 1)
    assert compare_cell("cell-1", expected, CellSums(2, 4, 3, 7, 0, 0, 0)) == []
    assert others_traded(expected, CellSums(2, 4, 3, 7, 0, 0, 0))
    assert not others_traded(expected, CellSums(2, 4, 1, 7, 0, 0, 0)), "fewer fills than ours is a loss, not company"


def test_sums_of_a_cell_are_read_from_its_summary() -> None:
    summary = {
        "users": 2,
        "orders_by_status": {"filled": 3, "routed": 1},
        "executions": 4,
        "cash_micros": 100,
        "cash_held_micros": 7,
        "shares": {"AAPL": 5},
        "shares_held": {},
    }
    assert sums_of(summary, "AAPL") == CellSums(2, 4, 4, 107, 7, 5, 0)
