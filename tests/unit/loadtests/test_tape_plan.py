"""The plan knows who does what, and what must come of every order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.replay.generated_tape import generate_tape
from loadtests.replay.tape_file import TapeRefused, parse_tape
from loadtests.replay.tape_plan import Action, TapePlan, plan_tape

OPEN_BUY = "1,1,100,50,5850000,1"


def plan_of(*lines: str, customers: int = 2) -> TapePlan:
    return plan_tape(parse_tape("\n".join(lines), "tape.csv"), file="tape.csv", customers=customers)


def test_customer_i_mod_n_owns_the_ith_new_order() -> None:
    plan = plan_of(*(f"1,1,{number},5,5850000,1" for number in range(10, 17)), customers=3)
    assert [order.customer for order in plan.orders] == [0, 1, 2, 0, 1, 2, 0]
    assert [[order.tape_id for order in customer.orders] for customer in plan.customers] == [
        [10, 13, 16],
        [11, 14],
        [12, 15],
    ]


def test_more_customers_than_orders_leaves_nobody_idle() -> None:
    assert len(plan_of(OPEN_BUY, customers=9).customers) == 1


def test_fills_make_state_quantity_and_cost() -> None:
    (order,) = plan_of(OPEN_BUY, "2,4,100,20,5850000,1", "3,4,100,30,5849900,1").orders
    assert (order.expected_status, order.filled, order.expected_open) == ("filled", 50, 0)
    assert order.cost_micros == 20 * 585_000_000 + 30 * 584_990_000


def test_a_partial_fill_before_a_deletion_ends_cancelled_with_its_fill() -> None:
    plan = plan_of(OPEN_BUY, "2,4,100,20,5850000,1", "3,3,100,30,5850000,1")
    (order,) = plan.orders
    assert (order.expected_status, order.filled, order.expected_open) == ("cancelled", 20, 0)
    assert [step.action for step in plan.customers[0].steps] == [Action.PLACE, Action.CANCEL]


@pytest.mark.parametrize(
    ("rest", "status", "still_open"), [((), "routed", 50), (("2,4,100,20,5850000,1",), "partially_filled", 30)]
)
def test_what_the_tape_leaves_open_stays_open(rest: tuple[str, ...], status: str, still_open: int) -> None:
    (order,) = plan_of(OPEN_BUY, *rest).orders
    assert (order.expected_status, order.expected_open) == (status, still_open)


def test_a_partial_cancellation_replaces_the_order_by_what_it_leaves() -> None:
    plan = plan_of(OPEN_BUY, "2,4,100,5,5850000,1", "2,2,100,20,5850000,1", "3,4,100,10,5850000,1")
    (order,) = plan.orders
    assert plan.counted == {"new": 1, "executed": 2, "replaced by less": 1}
    assert (order.expected_status, order.expected_open, order.filled) == ("partially_filled", 15, 15)
    assert order.reductions == [(1, 20)]
    assert [(step.action, step.size) for step in plan.customers[0].steps] == [(Action.PLACE, 0), (Action.REPLACE, 20)]


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("3,4,100,30,5850000,1", "filled"),
        ("3,2,100,30,5850000,1", "cancelled"),
        ("3,3,100,30,5850000,1", "cancelled"),
        ("3,5,0,30,5850000,1", "routed"),
    ],
)
def test_what_is_left_after_a_partial_cancellation_ends_like_any_order(rest: str, status: str) -> None:
    (order,) = plan_of(OPEN_BUY, "2,2,100,20,5850000,1", rest).orders
    assert order.expected_status == status
    assert order.expected_open == (30 if status == "routed" else 0)


def test_what_cannot_be_played_is_counted() -> None:
    plan = plan_of(
        OPEN_BUY,
        "2,5,0,10,5850000,1",
        "2,7,0,0,-1,-1",
        "2,3,99,10,5850000,1",
        "2,4,99,10,5850000,-1",
        "2,1,0,5,5850000,1",
    )
    assert plan.counted == {
        "new": 1,
        "hidden executions (skipped)": 1,
        "halts (skipped)": 1,
        "of orders from before the tape (skipped)": 2,
        "order id 0 (skipped)": 1,
    }


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (OPEN_BUY, "was already submitted at line 1"),
        ("2,4,100,51,5850000,1", "takes 51 of order 100, which has 50 left"),
        ("2,4,100,5,5850100,1", "at a worse price than its limit"),
        ("2,4,100,5,5850000,-1", "contradicts line 1: a buy order"),
        ("2,1,101,5,5850050,1", "no whole cent"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(line: str, cause: str) -> None:
    with pytest.raises(TapeRefused) as refused:
        plan_of(OPEN_BUY, line)
    assert refused.value.line == 2
    assert cause in refused.value.cause


@pytest.mark.parametrize("end", ["2,3,100,50,5850000,1", "2,4,100,50,5850000,1"])
def test_nothing_happens_to_an_order_after_its_end(end: str) -> None:
    with pytest.raises(TapeRefused, match="line 3"):
        plan_of(OPEN_BUY, end, "3,4,100,1,5850000,1")


def test_a_tape_without_a_new_order_is_refused() -> None:
    with pytest.raises(TapeRefused, match="no new order"):
        plan_of("2,5,0,10,5850000,1")


def test_customers_need_what_all_their_orders_could_cost() -> None:
    plan = plan_of(OPEN_BUY, "1,1,101,30,5860000,-1", "1,1,102,10,5840000,1", "1,1,103,7,5860000,-1")
    assert [(customer.buy_cost_micros, customer.sell_size) for customer in plan.customers] == [
        (50 * 585_000_000 + 10 * 584_000_000, 0),
        (0, 37),
    ]


@given(seed=st.integers(0, 10_000), rows=st.integers(10, 300), customers=st.integers(1, 20))
def test_every_generated_tape_can_be_played(seed: int, rows: int, customers: int) -> None:
    text = generate_tape(seed, rows=rows, partial_cancels=True)
    assert text == generate_tape(seed, rows=rows, partial_cancels=True), "the same seed gives the same tape"
    parsed = parse_tape(text, "generated")
    assert len(parsed) == rows
    plan = plan_tape(parsed, file="generated", customers=customers)
    assert sum(plan.counted.values()) == rows
    for order in plan.orders:
        assert 0 <= order.filled <= order.size
        assert order.expected_open + order.filled <= order.size
    played = [step for customer in plan.customers for step in customer.steps]
    assert len(played) == sum(plan.counted.get(kind, 0) for kind in ("new", "cancelled", "replaced by less"))
