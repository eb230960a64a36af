"""Orders by amount at the exchange: cash becomes quantity at the fill's price, and no more than the amount is spent."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.faults import Faults
from exchange.paper import MICROS, QTY_MAX, plan_crossing, plan_order, refusal_of
from exchange.tape import difference_from_tape, parse_tape
from exchange.wire import Cancel, Replace, Submit
from tests.unit.exchange.test_book import Exchange, kinds

LAST = 228_500_000
amounts = st.integers(1_000_000, 10**16)
prices = st.integers(100, 10**12)


def by_amount(cl_ord_id: str = "a", *, side: str = "buy", cash: int = 5_000_000, limit_px: int = 240_000_000,
              cap: int = 0, tif: str = "day", ord_type: str = "market") -> Submit:  # fmt: skip
    return Submit(
        cl_ord_id, "u", "AAPL", side, cap, limit_px, tif, ord_type, cash_qty=cash  # type: ignore[arg-type]
    )  # fmt: skip


@given(cash=amounts, px=prices, name=st.uuids(), side=st.sampled_from(["buy", "sell"]))
def test_a_plan_spends_the_amount_and_not_a_micro_more(cash: int, px: int, name: object, side: str) -> None:
    limit_px = px * 105 // 100 if side == "buy" else max(1, px * 95 // 100)
    order = by_amount(str(name), side=side, cash=cash, limit_px=limit_px)
    plan = plan_order(3, order, last_px=px, at_us=0, faults=Faults())
    fills = [step for step in plan.steps if step.kind == "fill"]
    spent = sum(step.qty * step.px for step in fills)
    assert fills
    assert all(step.qty > 0 for step in fills)
    bought = sum(step.qty for step in fills)
    assert spent <= cash * MICROS
    assert cash * MICROS - fills[-1].px < spent or bought == QTY_MAX


@given(cash=st.integers(1_000_000, 10**10), px=prices, cap=st.integers(1, 10**9), name=st.uuids())
def test_a_sale_takes_no_more_shares_than_it_may(cash: int, px: int, cap: int, name: object) -> None:
    order = by_amount(str(name), side="sell", cash=cash, limit_px=max(1, px * 95 // 100), cap=cap)
    plan = plan_order(3, order, last_px=px, at_us=0, faults=Faults())
    assert sum(step.qty for step in plan.steps if step.kind == "fill") <= cap


def test_what_waited_for_its_price_trades_at_its_limit() -> None:
    order = by_amount(ord_type="limit", limit_px=LAST // 2)
    assert plan_order(3, order, last_px=LAST, at_us=0, faults=Faults()).waits
    steps = plan_crossing(3, order, leaves_qty=5_000_000 * MICROS // (LAST // 2), at_us=0)
    assert sum(step.qty for step in steps) == 5_000_000 * MICROS // (LAST // 2)


@pytest.mark.parametrize("order", [by_amount(cash=0), by_amount(cash=10**16 + 1), by_amount(cap=-1)])
def test_impossible_amounts_are_refused(order: Submit) -> None:
    assert refusal_of(order)


def test_an_amount_without_a_limit_price_is_refused() -> None:
    assert refusal_of(Submit("a", "u", "AAPL", "buy", 0, None, ord_type="market", cash_qty=5)) is not None
    assert refusal_of(by_amount()) is None


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_amount_is_filled_when_the_rest_buys_nothing(tmp_path: Path, side: str) -> None:
    exchange = Exchange(tmp_path)
    limit_px = 250_000_000 if side == "buy" else 200_000_000
    for number in range(30):
        exchange.submit(by_amount(f"o{number}", side=side, cash=3_000_000 + 7 * number, limit_px=limit_px))
    for _ in range(6):
        exchange.pass_time(100_000)
        exchange.crash()
    reports = exchange.reports()
    for number in range(30):
        fills = [report for report in reports if report.cl_ord_id == f"o{number}" and report.kind == "fill"]
        spent = sum((fill.last_qty or 0) * (fill.last_px or 0) for fill in fills)
        assert [fill.ord_status for fill in fills] == ["partially_filled"] * (len(fills) - 1) + ["filled"]
        assert 0 <= (3_000_000 + 7 * number) * MICROS - spent < (fills[-1].last_px or 0)
        assert fills[-1].leaves_qty == 0
    exchange.log.close()


def test_an_amount_rests_is_cancelled_and_never_replaced(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path)
    exchange.submit(by_amount(ord_type="limit", limit_px=100_000_000))
    exchange.book.replace("cell-1", Replace("b", "a", "u", 1_000_000, 100_000_000), exchange.now_us)
    exchange.book.cancel("cell-1", Cancel("a", "u"), exchange.now_us)
    exchange.commit()
    assert kinds(exchange.reports()) == ["accepted", "replace_rejected", "cancelled"]
    exchange.log.close()


def test_faults_concern_amounts_too(tmp_path: Path) -> None:
    faults = Faults(late_fill_rate=1.0, bust_rate=0.5, correct_rate=0.5)
    exchange = Exchange(tmp_path, faults)
    for number in range(20):
        exchange.submit(by_amount(f"o{number}", limit_px=250_000_000, cash=900_000_000))
        exchange.submit(by_amount(f"r{number}", limit_px=150_000_000, cash=1_000_000 + number, ord_type="limit"))
    for number in range(20):
        exchange.cancel(f"r{number}")
    for _ in range(10):
        exchange.pass_time(300_000)
    told = {report.kind for report in exchange.reports()}
    assert {"fill", "bust", "correct", "cancelled"} <= told
    late = [r for r in exchange.reports() if r.kind == "fill" and r.cl_ord_id.startswith("r")]
    assert late
    assert all((r.last_qty or 0) * (r.last_px or 0) <= 1_000_020 * MICROS for r in late)
    exchange.log.close()


def test_a_tape_has_quantities(tmp_path: Path) -> None:
    tape = parse_tape(b"34200,1,11,100,1900000,1\n", symbol="AAPL", run="R")
    assert "not for an amount" in (difference_from_tape(by_amount(), tape.orders[11]) or "")
