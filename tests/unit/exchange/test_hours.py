"""The exchange in sessions: days end at the close, once, before and after a restart; outside of one nothing trades."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from exchange.book import CLOSED_THROUGH, Book
from exchange.hours import TradingHours, trading_hours
from exchange.log import DurableLog
from exchange.prices import BasePrice, PriceBoard
from exchange.wire import Replace, Report, Submit

LAST_PX = 100_000_000
HOURS = trading_hours("XNYS", datetime(2026, 11, 20, tzinfo=UTC))


def us(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp()) * 1_000_000


NOON, CLOSE, NEXT_OPEN = us("2026-11-25T17:00:00"), us("2026-11-25T21:00:00"), us("2026-11-27T14:30:00")
EARLY_CLOSE = us("2026-11-27T18:00:00")


class Exchange:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now_us = NOON
        self.open()
        self.book.reports.open_session("cell-1", 0)

    def open(self) -> None:
        self.log = DurableLog(self.directory)
        prices = self.log.prices() or {"ACME": BasePrice(LAST_PX, self.now_us)}
        known = self.log.fact(CLOSED_THROUGH)
        self.book = Book(
            7,
            PriceBoard(7, prices, self.now_us),
            find_order=self.log.find_order,
            hours=HOURS,
            closed_through_us=self.now_us if known is None else int(known),
        )
        self.book.restore(self.log.live_orders(), self.log.sessions(), [], {}, self.log.count_orders_by_status())

    def restart(self) -> None:
        self.log.close()
        self.open()

    def commit(self) -> None:
        batch = self.book.take_batch()
        self.log.write(batch)
        self.book.orders.forget_ended(batch.orders)

    def submit(self, cl_ord_id: str, *, time_in_force: str = "day", limit_px: int = 99_000_000) -> None:
        terms = Submit(cl_ord_id, "u", "ACME", "buy", 10_000_000, limit_px, time_in_force)  # type: ignore[arg-type]
        self.book.submit("cell-1", terms, self.now_us)
        self.commit()

    def pass_to(self, now_us: int) -> None:
        self.now_us = now_us
        self.book.advance(now_us)
        self.commit()

    def kinds(self, cl_ord_id: str) -> list[str]:
        rows = self.log.reports_after("cell-1", 0, 10_000)
        reports = [msgspec.json.decode(row.body, type=Report) for row in rows]
        return [report.kind for report in reports if report.cl_ord_id == cl_ord_id]


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path)


def test_hours_know_the_open_the_close_and_the_last_moment_of_trading() -> None:
    assert [HOURS.is_open(at) for at in (NOON, CLOSE - 1, CLOSE, NEXT_OPEN - 1, NEXT_OPEN)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert (HOURS.close_after(CLOSE - 1), HOURS.close_after(CLOSE)) == (CLOSE, EARLY_CLOSE)
    assert [HOURS.last_trading_us(at) for at in (NOON, CLOSE, NEXT_OPEN - 1)] == [NOON, CLOSE, CLOSE]
    always = TradingHours(None)
    assert (always.is_open(CLOSE), always.close_after(CLOSE), always.last_trading_us(CLOSE)) == (True, None, CLOSE)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_day_order_expires_at_the_close_and_one_good_till_cancelled_stays(exchange: Exchange, restarts: bool) -> None:
    exchange.submit("day")
    exchange.submit("gtc", time_in_force="gtc")
    assert exchange.book.next_due_us() == CLOSE
    exchange.pass_to(CLOSE - 1)
    assert exchange.kinds("day") == ["accepted"]
    if restarts:
        exchange.now_us = NEXT_OPEN
        exchange.restart()
    exchange.pass_to(CLOSE if not restarts else NEXT_OPEN)
    assert exchange.kinds("day") == ["accepted", "expired"]
    exchange.restart()
    exchange.pass_to(NEXT_OPEN)
    exchange.book.meet_prices({"ACME": 98_000_000}, NEXT_OPEN)
    exchange.pass_to(NEXT_OPEN + 2_000_000)
    assert exchange.kinds("day") == ["accepted", "expired"]
    assert set(exchange.kinds("gtc")) == {"accepted", "fill"}


def test_outside_the_session_nothing_trades(exchange: Exchange) -> None:
    exchange.submit("resting", time_in_force="gtc")
    exchange.pass_to(CLOSE + 1)
    for time_in_force in ("day", "ioc", "fok", "gtc"):
        exchange.submit(time_in_force, time_in_force=time_in_force, limit_px=110_000_000)
    exchange.book.meet_prices({"ACME": 90_000_000}, CLOSE + 2)
    exchange.pass_to(NEXT_OPEN - 1)
    assert [exchange.kinds(name) for name in ("day", "ioc", "fok")] == [["accepted", "expired"]] * 3
    assert [exchange.kinds(name) for name in ("gtc", "resting")] == [["accepted"]] * 2


def test_a_replacement_outside_the_session_does_not_trade_either(exchange: Exchange) -> None:
    for name in ("a", "b"):
        exchange.submit(name, time_in_force="gtc")
    exchange.pass_to(CLOSE + 1)
    for name, time_in_force in (("a", "gtc"), ("b", "day")):
        through = Replace(f"new {name}", name, "u", 10_000_000, 110_000_000, time_in_force)  # type: ignore[arg-type]
        exchange.book.replace("cell-1", through, exchange.now_us)
    exchange.pass_to(NEXT_OPEN - 1)
    assert (exchange.kinds("new a"), exchange.kinds("new b")) == (["replaced"], ["replaced", "expired"])
    exchange.book.meet_prices({"ACME": LAST_PX}, NEXT_OPEN)
    exchange.pass_to(NEXT_OPEN + 2_000_000)
    assert "fill" in exchange.kinds("new a")


def test_what_was_to_happen_after_the_close_does_not(exchange: Exchange) -> None:
    exchange.pass_to(CLOSE - 1)
    exchange.submit("late", limit_px=110_000_000)
    exchange.submit("rests", limit_px=110_000_000, time_in_force="gtc")
    exchange.pass_to(NEXT_OPEN - 1)
    assert (exchange.kinds("late"), exchange.kinds("rests")) == (["accepted", "expired"], ["accepted"])
    exchange.book.meet_prices({"ACME": LAST_PX}, NEXT_OPEN)
    exchange.pass_to(NEXT_OPEN + 2_000_000)
    assert "fill" in exchange.kinds("rests")
