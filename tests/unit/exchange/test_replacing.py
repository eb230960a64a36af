"""Replacements, busts and corrections at the exchange: idempotent, kept across crashes, and as the tape says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.faults import Faults
from exchange.log_rows import TapeRow
from exchange.tape import parse_tape
from exchange.wire import Replace, Status
from tests.unit.exchange.test_book import Exchange, kinds, order, taped

REDUCED = (
    b"34200,1,11,100,1000000,1\n34200.1,4,11,30,1000000,1\n34200.2,2,11,20,1000000,1\n34200.3,4,11,10,1000000,1\n"
    b"34200.4,2,11,5,1000000,1\n34200.5,4,11,35,1000000,1\n"
)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    made = Exchange(tmp_path)
    made.book.reports.open_session("cell-1", 0)
    yield made
    made.log.close()


def replace(exchange: Exchange, new: str, old: str, qty: int, limit_px: int = 98_000_000) -> None:
    exchange.book.replace("cell-1", Replace(new, old, "u", qty, limit_px), exchange.now_us)
    exchange.commit()


def load(exchange: Exchange, *, waits: bool) -> None:
    tape = parse_tape(REDUCED, symbol="TAPED", run="R", waits_for_replace=waits)
    exchange.book.add_tape(tape, TapeRow("TAPED", "R", tape.digest, REDUCED, "now", waits), exchange.now_us)
    exchange.commit()


def test_a_replacement_takes_the_place_and_starts_at_zero(exchange: Exchange) -> None:
    exchange.submit(order("a"))
    replace(exchange, "b", "a", 15_000_000)
    report = exchange.reports()[-1]
    assert (report.kind, report.cl_ord_id, report.orig_cl_ord_id) == ("replaced", "b", "a")
    assert (report.cum_qty, report.leaves_qty) == (0, 15_000_000)
    assert exchange.book.orders.by_status() == {"new": 1, "replaced": 1}
    exchange.cancel("a")
    exchange.cancel("b")
    assert kinds(exchange.reports())[2:] == ["cancel_rejected", "cancelled"]


def test_a_replacement_is_answered_the_same_for_ever(exchange: Exchange) -> None:
    exchange.submit(order("a"))
    replace(exchange, "refused", "nobody", 15_000_000)
    replace(exchange, "b", "a", 15_000_000)
    for _ in range(2):
        replace(exchange, "refused", "a", 12_000_000)
        replace(exchange, "b", "a", 15_000_000)
        assert kinds(exchange.reports())[-2:] == ["replace_rejected", "replaced"]
        assert exchange.book.status("cell-1", Status("refused"), exchange.now_us)
        exchange.crash()
    assert exchange.book.orders.by_status() == {"new": 1, "rejected": 1, "replaced": 1}


def test_what_was_taken_as_a_replacement_is_not_rejected_as_an_order(exchange: Exchange) -> None:
    """A cell that missed the confirmation would take the rejection for a refusal, and the old order for a live one."""
    exchange.submit(order("a"))
    exchange.book.set_faults(Faults(reject_rate=1.0, lost_ack_rate=1.0), "{}", exchange.now_us)
    replace(exchange, "b", "a", 15_000_000)
    assert kinds(exchange.reports()) == ["accepted"]
    assert exchange.book.orders.by_status() == {"new": 1, "replaced": 1}


@pytest.mark.parametrize(
    ("qty", "reason"), [(40_000_000, "nothing would be left"), (20_000_000, "nothing would be left")]
)
def test_what_has_filled_cannot_be_replaced_away(exchange: Exchange, qty: int, reason: str) -> None:
    load(exchange, waits=False)
    exchange.submit(taped(11))
    exchange.pass_time()
    replace(exchange, "b", "tape-11", qty, 100_000_000)
    report = exchange.reports()[-1]
    assert report.kind == "replace_rejected"
    assert reason in (report.reason or "")


def test_an_order_that_has_ended_is_too_late_to_replace(exchange: Exchange) -> None:
    exchange.submit(order("a", ord_type="market", limit_px=None))
    exchange.pass_time()
    replace(exchange, "b", "a", 15_000_000)
    assert "too late: the order is filled" in (exchange.reports()[-1].reason or "")


def test_a_waiting_tape_goes_on_only_after_each_replacement(exchange: Exchange) -> None:
    load(exchange, waits=True)
    exchange.submit(taped(11))
    exchange.pass_time()
    assert [report.cum_qty for report in exchange.reports()] == [0, 30_000_000]
    replace(exchange, "wrong", "tape-11", 90_000_000, 100_000_000)
    assert "takes 20000000 micro-shares off" in (exchange.reports()[-1].reason or "")
    exchange.crash()
    replace(exchange, "b", "tape-11", 80_000_000, 100_000_000)
    exchange.pass_time()
    replace(exchange, "c", "b", 45_000_000, 100_000_000)
    exchange.pass_time()
    told = [(report.cl_ord_id, report.kind, report.last_qty) for report in exchange.reports()[3:]]
    assert told == [
        ("b", "replaced", None),
        ("b", "fill", 10_000_000),
        ("c", "replaced", None),
        ("c", "fill", 35_000_000),
    ]
    assert exchange.reports()[-1].ord_status == "filled"


def test_a_tape_that_waits_for_nobody_executes_on(exchange: Exchange) -> None:
    load(exchange, waits=False)
    exchange.submit(taped(11))
    exchange.pass_time()
    assert exchange.reports()[-1].cum_qty == 75_000_000


@pytest.mark.parametrize("kind", ["bust", "correct"])
def test_fills_are_taken_back_under_a_name_of_their_own(tmp_path: Path, kind: str) -> None:
    exchange = Exchange(tmp_path, Faults(bust_rate=float(kind == "bust"), correct_rate=float(kind == "correct")))
    exchange.submit(order("a", ord_type="market", limit_px=None, time_in_force="fok"))
    exchange.pass_time(150_000)
    exchange.crash()
    exchange.pass_time()
    fill, revision = exchange.reports()[1:]
    assert (fill.kind, revision.kind) == ("fill", kind)
    assert revision.exec_ref_id == fill.exec_id != revision.exec_id
    assert (revision.ord_status, revision.cum_qty) == (("cancelled", 0) if kind == "bust" else ("filled", fill.cum_qty))
    exchange.log.close()
