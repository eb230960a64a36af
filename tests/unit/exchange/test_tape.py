"""The tape's rules: what it accepts, what it refuses and where, and what each order gets of it."""

import pytest

from exchange.errors import TapeInvalid
from exchange.tape import Tape, difference_from_tape, parse_tape, plan_tape_order, tape_id_of
from exchange.wire import Submit

GOOD = (
    b"34200.000000001,1,11,100,5853300,1\n"
    b"34200.1,1,12,50,5854000,-1\n"
    b"34200.2,4,11,30,5853300,1\n"
    b"34200.2,5,0,10,5853500,1\n"
    b"34200.3,2,11,20,5853300,1\n"
    b"34200.4,4,11,10,5853200,1\n"
    b"34200.5,3,11,40,5853300,1\n"
    b"34200.6,4,99,5,5853300,1\n"
    b"34200.7,7,0,0,-1,-1\n"
    b"34200.8,1,0,7,5853300,1\n"
)


def read(content: bytes) -> Tape:
    return parse_tape(content, symbol="AAPL", run="R")


def submit(**changed: object) -> Submit:
    terms: dict[str, object] = {
        "cl_ord_id": "a",
        "account": "u",
        "symbol": "AAPL",
        "side": "buy",
        "order_qty": 100_000_000,
        "limit_px": 585_330_000,
    }
    return Submit(**(terms | changed))  # type: ignore[arg-type]


def test_a_tape_is_read_and_everything_is_counted() -> None:
    tape = read(GOOD)
    order = tape.orders[11]
    assert [(fill.qty, fill.px) for fill in order.fills] == [(30_000_000, 585_330_000), (10_000_000, 585_320_000)]
    assert order.deleted
    assert not tape.orders[12].deleted
    assert tape.first_px == 585_330_000
    assert dict(tape.counts) == {
        "new_orders": 2,
        "executions": 2,
        "partial_cancellations": 1,
        "deletions": 1,
        "hidden_executions": 1,
        "halts": 1,
        "order_id_zero": 1,
        "of_orders_from_before_the_tape": 1,
    }
    assert sum(tape.counts.values()) == tape.rows == 10


@pytest.mark.parametrize(
    ("line", "rows", "reason"),
    [
        (1, b"34200,1,11,100,5853300\n", "5 columns"),
        (1, b"0x8598,1,11,100,5853300,1\n", "time '0x8598' is not a number of seconds"),
        (1, b"34200." + b"1" * 61 + b",1,11,100,5853300,1\n", "more than 60 decimals"),
        (1, b"1e99,1,11,100,5853300,1\n", "time 1e99 is after the end of the day"),
        (1, b"-0.5,1,11,100,5853300,1\n", "time '-0.5'"),
        (1, b"86400.1,1,11,100,5853300,1\n", "end of the day"),
        (1, b"34200,8,11,100,5853300,1\n", "type 8"),
        (1, b"34200,1,11,0,5853300,1\n", "size 0"),
        (1, b"34200,1,11,-5,5853300,1\n", "size -5"),
        (1, b"34200,1,11,1.5,5853300,1\n", "size '1.5'"),
        (1, b"34200,1,11,100,0,1\n", "price 0"),
        (1, b"34200,1,-11,100,5853300,1\n", "negative"),
        (1, b"34200,1,11,100,5853300,0\n", "direction 0"),
        (
            2,
            b"34200,1,11,100,5853300,1\n34199,1,12,1,5853300,1\n",
            "time 34199 is earlier than 34200 of the line before",
        ),
        (2, b"34200,1,11,100,5853300,1\n\n34200,3,11,100,5853300,1\n", "has nothing instead of 6 columns"),
        (2, b"34200,1,11,100,5853300,1\n34200,1,11,100,5853300,1\n", "already submitted at line 1"),
        (
            2,
            b"34200,1,11,100,5853300,1\n34200,4,11,101,5853300,1\n",
            "size 101 is more than the 100 that order 11 has left",
        ),
        (2, b"34200,1,11,100,5853300,1\n34200,4,11,10,5853300,-1\n", "contradicts line 1"),
        (
            2,
            b"34200,1,11,100,5853300,1\n34200,4,11,10,5853400,1\n",
            "price 5853400 is worse for order 11 than its limit 5853300",
        ),
        (3, b"34200,1,11,9,5853300,1\n34200,3,11,9,5853300,1\n34200,4,11,9,5853300,1\n", "already deleted at line 2"),
        (3, b"34200,1,11,9,5853300,1\n34200,4,11,9,5853300,1\n34200,3,11,9,5853300,1\n", "nothing left"),
        (2, b"34200,1,11,9,5853300,1\n34200,1,1\xc3\xa9,9,5853300,1\n", "0xc3, which is not ASCII"),
        (1, b"", "empty"),
        (1, b"34200,5,0,9,5853300,1\n", "without a new order"),
    ],
)
def test_a_broken_tape_is_refused_with_its_line(line: int, rows: bytes, reason: str) -> None:
    with pytest.raises(TapeInvalid, match="line") as refused:
        read(rows)
    assert refused.value.line == line
    assert reason in refused.value.reason


def test_carriage_returns_and_a_missing_last_newline_are_fine() -> None:
    assert read(GOOD.replace(b"\n", b"\r\n").rstrip()).orders == read(GOOD).orders


def test_the_plan_is_the_tape_in_order() -> None:
    steps = plan_tape_order(read(GOOD).orders[11], at_us=1_000)
    assert [(step.kind, step.qty, step.px) for step in steps] == [
        ("accepted", 0, 0),
        ("fill", 30_000_000, 585_330_000),
        ("fill", 10_000_000, 585_320_000),
    ]
    assert [step.at_us for step in steps] == sorted(step.at_us for step in steps)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"side": "sell"}, "is a buy, not a sell"),
        ({"order_qty": 99_000_000}, "is for 100000000 micro-shares, not 99000000"),
        ({"limit_px": 585_340_000}, "has the limit 585330000 micro-dollars, not 585340000"),
        ({"time_in_force": "ioc"}, "may rest"),
        ({"ord_type": "market"}, "may rest"),
    ],
)
def test_an_order_that_differs_from_the_tape_is_named(changed: dict[str, object], reason: str) -> None:
    difference = difference_from_tape(submit(**changed), read(GOOD).orders[11])
    assert difference is not None
    assert reason in difference


def test_the_tapes_own_order_has_no_difference() -> None:
    assert difference_from_tape(submit(time_in_force="gtc"), read(GOOD).orders[11]) is None


@pytest.mark.parametrize(
    ("client_order_id", "tape_id"),
    [("R-11", 11), ("R-", None), ("R-1x", None), ("S-11", None), ("R-\u0661", None), (None, None), ("RR-11", None)],
)
def test_a_client_order_id_names_a_tape_order_or_nothing(client_order_id: str | None, tape_id: int | None) -> None:
    assert tape_id_of(client_order_id, "R") == tape_id
