"""The book: idempotence, sequence numbers, recovery from the log at any batch, cancels, tapes and faults."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.book import Book
from exchange.faults import Faults
from exchange.log import DurableLog
from exchange.log_rows import TapeRow
from exchange.prices import BasePrice, PriceBoard
from exchange.tape import parse_tape
from exchange.wire import Cancel, Report, Status, Submit

NOW_US = 1_780_000_000_000_000
LAST_PX = 100_000_000
TAPE = (
    b"34200,1,11,100,1000000,1\n34200.1,4,11,30,1000000,1\n34200.2,4,11,10,1000000,1\n34200.3,3,11,60,1000000,1\n"
    b"34200.4,1,12,50,1000100,-1\n34200.5,4,12,50,1000100,-1\n"
)


class Exchange:
    """A book on a log, with a hand on the clock; `crash` loses what was not committed."""

    def __init__(self, directory: Path, faults: Faults | None = None) -> None:
        self.directory = directory
        self.now_us = NOW_US
        self.faults = faults or Faults()
        self.open()

    def open(self) -> None:
        self.log = DurableLog(self.directory)
        prices = self.log.prices() or {"ACME": BasePrice(LAST_PX, self.now_us)}
        self.book = Book(7, PriceBoard(7, prices, self.now_us), find_order=self.log.find_order, faults=self.faults)
        self.book.restore(
            self.log.live_orders(),
            self.log.sessions(),
            [parse_tape(row.content, symbol=row.symbol, run=row.run) for row in self.log.tapes()],
            self.log.taken_tape_orders(),
            self.log.count_orders_by_status(),
        )

    def crash(self) -> None:
        self.log.close()
        self.open()

    def commit(self) -> None:
        batch = self.book.take_batch()
        self.log.write(batch)
        self.book.orders.forget_ended(batch.orders)

    def pass_time(self, micros: int = 2_000_000) -> None:
        self.now_us += micros
        self.book.advance(self.now_us)
        self.commit()

    def submit(self, terms: Submit, session: str = "cell-1") -> None:
        self.book.submit(session, terms, self.now_us)
        self.commit()

    def cancel(self, cl_ord_id: str, session: str = "cell-1") -> None:
        self.book.cancel(session, Cancel(cl_ord_id, "u"), self.now_us)
        self.commit()

    def reports(self, session: str = "cell-1", after: int = 0) -> list[Report]:
        rows = self.log.reports_after(session, after, 10_000)
        return [msgspec.json.decode(row.body, type=Report) for row in rows]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    made = Exchange(tmp_path)
    made.book.reports.open_session("cell-1", 0)
    yield made
    made.log.close()


def order(cl_ord_id: str, **changed: object) -> Submit:
    terms: dict[str, object] = {
        "cl_ord_id": cl_ord_id,
        "account": "u",
        "symbol": "ACME",
        "side": "buy",
        "order_qty": 10_000_000,
        "limit_px": 99_000_000,
    }
    return Submit(**(terms | changed))  # type: ignore[arg-type]


def kinds(reports: list[Report]) -> list[str]:
    return [report.kind for report in reports]


def load(exchange: Exchange) -> None:
    tape = parse_tape(TAPE, symbol="TAPED", run="R")
    exchange.book.add_tape(tape, TapeRow("TAPED", "R", tape.digest, TAPE, "now"), exchange.now_us)
    exchange.commit()


def taped(tape_id: int, **changed: object) -> Submit:
    terms: dict[str, object] = {
        "symbol": "TAPED",
        "order_qty": 100_000_000,
        "limit_px": 100_000_000,
        "client_order_id": f"R-{tape_id}",
    }
    return order(f"tape-{tape_id}", **(terms | changed))


def test_a_repeated_submit_is_answered_with_the_status_and_changes_nothing(exchange: Exchange) -> None:
    exchange.submit(order("a"))
    exchange.submit(order("a"))
    exchange.submit(order("a", order_qty=1), session="cell-2")
    assert kinds(exchange.reports()) == ["accepted", "status"]
    (answer,) = exchange.reports("cell-2")
    assert (answer.kind, answer.leaves_qty, answer.session) == ("status", 10_000_000, "cell-1")
    assert answer.reason is not None
    assert "other terms" in answer.reason


def test_an_order_that_ended_is_still_known_after_it_left_memory(exchange: Exchange) -> None:
    exchange.submit(order("a", ord_type="market", limit_px=None))
    exchange.pass_time()
    assert len(exchange.book.orders) == 0
    assert exchange.book.status("cell-2", Status("a"), exchange.now_us)
    exchange.submit(order("a", ord_type="market", limit_px=None))
    fills = [report for report in exchange.reports() if report.kind == "fill"]
    assert sum(report.last_qty or 0 for report in fills) == 10_000_000
    assert exchange.reports()[-1].ord_status == "filled"
    assert len({report.exec_id for report in fills}) == len(fills)


def test_orders_are_counted_by_status_across_restarts(exchange: Exchange) -> None:
    exchange.submit(order("a", ord_type="market", limit_px=None))
    exchange.submit(order("b"))
    exchange.submit(order("c", order_qty=0))
    exchange.submit(order("d"))
    exchange.cancel("d")
    exchange.pass_time()
    expected = {"cancelled": 1, "filled": 1, "new": 1, "rejected": 1}
    assert exchange.book.orders.by_status() == expected
    exchange.crash()
    assert exchange.book.orders.by_status() == expected


def test_a_status_question_for_an_order_never_seen_is_answered_by_false(exchange: Exchange) -> None:
    assert not exchange.book.status("cell-1", Status("nobody"), exchange.now_us)


def test_a_resting_order_is_cancelled_once_and_by_anybody(exchange: Exchange) -> None:
    exchange.submit(order("a"))
    exchange.cancel("a", session="cell-2")
    exchange.cancel("a")
    assert kinds(exchange.reports()) == ["accepted", "cancelled", "cancel_rejected"]
    assert kinds(exchange.reports("cell-2")) == ["cancelled"]
    assert exchange.reports()[1].leaves_qty == 0


def test_a_cancel_of_an_unknown_order_is_refused(exchange: Exchange) -> None:
    exchange.cancel("nobody")
    (report,) = exchange.reports()
    assert (report.kind, report.reason) == ("cancel_rejected", "unknown order")


@pytest.mark.parametrize(
    "changed", [{"symbol": "NOPE"}, {"order_qty": 0}, {"limit_px": None}, {"limit_px": -1}, {"order_qty": 10**16}]
)
def test_impossible_orders_are_rejected_for_ever(exchange: Exchange, changed: dict[str, object]) -> None:
    exchange.submit(order("a", **changed))
    exchange.submit(order("a", **changed))
    assert kinds(exchange.reports()) == ["rejected", "status"]
    assert exchange.reports()[0].reason


def test_a_waiting_order_fills_when_the_price_comes(exchange: Exchange) -> None:
    exchange.submit(order("a"))
    exchange.book.meet_prices({"ACME": 99_010_000}, exchange.now_us)
    exchange.pass_time()
    assert kinds(exchange.reports()) == ["accepted"]
    exchange.book.meet_prices({"ACME": 99_000_000}, exchange.now_us)
    exchange.pass_time()
    assert exchange.reports()[-1].ord_status == "filled"


def test_tape_orders_get_exactly_their_fills_and_fills_precede_the_cancel(exchange: Exchange) -> None:
    load(exchange)
    exchange.submit(taped(11))
    exchange.cancel("tape-11")
    reports = exchange.reports()
    assert kinds(reports) == ["accepted", "fill", "fill", "cancelled"]
    assert [report.cum_qty for report in reports] == [0, 30_000_000, 40_000_000, 40_000_000]
    exchange.submit(taped(12, side="sell", order_qty=50_000_000, limit_px=100_010_000))
    exchange.pass_time()
    exchange.cancel("tape-12")
    assert kinds(exchange.reports(after=4)) == ["accepted", "fill", "cancel_rejected"]


def test_tape_orders_are_taken_once_and_strangers_are_refused_or_go_to_paper(exchange: Exchange) -> None:
    load(exchange)
    exchange.submit(taped(11))
    exchange.pass_time()
    exchange.crash()
    for cl_ord_id, terms in {
        "again": taped(11),
        "wrong": taped(12),
        "none": taped(13),
        "paper": taped(12, client_order_id="other"),
    }.items():
        exchange.submit(msgspec.structs.replace(terms, cl_ord_id=cl_ord_id))
    answers = {report.cl_ord_id: report for report in exchange.reports(after=3)}
    assert "already taken by order tape-11" in (answers["again"].reason or "")
    assert "is a sell, not a buy" in (answers["wrong"].reason or "")
    assert "no new order 13" in (answers["none"].reason or "")
    assert answers["paper"].kind == "accepted"


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (Faults(lost_ack_rate=1), ["cancelled"]),
        (Faults(duplicate_rate=1), ["accepted", "accepted", "cancelled", "cancelled"]),
        (Faults(cancel_refused_rate=1), ["accepted", "cancel_rejected"]),
        (Faults(late_fill_rate=1), ["accepted", "cancelled", "fill"]),
        (Faults(reject_rate=1), ["rejected", "cancel_rejected"]),
        (Faults(latency_ms=50), ["accepted", "cancelled"]),
    ],
)
def test_faults_do_what_they_say(tmp_path: Path, faults: Faults, expected: list[str]) -> None:
    exchange = Exchange(tmp_path, faults)
    exchange.submit(order("a"))
    exchange.cancel("a")
    exchange.pass_time()
    assert kinds(exchange.reports()) == expected
    assert len(exchange.book.orders) == int("cancel_rejected" in expected and "accepted" in expected)
    exchange.log.close()


SILENT = Faults(silent_rate=1, silent_ms=30_000)


def test_a_silent_order_is_there_and_nothing_is_said_of_it_also_after_a_crash(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path, SILENT)
    exchange.submit(order("a", ord_type="market", limit_px=None))
    exchange.crash()
    exchange.submit(order("a", ord_type="market", limit_px=None))
    assert exchange.book.status("cell-1", Status("a"), exchange.now_us), "it is not unknown"
    exchange.pass_time(29_000_000)
    assert exchange.reports() == []
    assert exchange.book.orders.by_status() == {"new": 1}
    exchange.pass_time()
    assert kinds(exchange.reports())[:2] == ["accepted", "fill"]
    assert exchange.book.status("cell-1", Status("a"), exchange.now_us)
    exchange.commit()
    assert kinds(exchange.reports())[-1] == "status"
    exchange.log.close()


def test_a_cancel_of_a_silent_order_is_answered_when_it_speaks(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path, SILENT)
    exchange.submit(order("a"))
    exchange.cancel("a")
    exchange.pass_time(29_000_000)
    assert exchange.reports() == []
    exchange.pass_time()
    assert kinds(exchange.reports()) == ["accepted", "cancelled"]
    exchange.log.close()


@pytest.mark.parametrize("after", [Faults(), Faults(latency_ms=10), Faults(silent_rate=1e-9)])
def test_the_silence_ends_with_its_fault(tmp_path: Path, after: Faults) -> None:
    exchange = Exchange(tmp_path, SILENT)
    exchange.submit(order("a"))
    exchange.submit(order("b", ord_type="market", limit_px=None))
    exchange.cancel("a")
    exchange.book.set_faults(after, "{}", exchange.now_us)
    exchange.pass_time()
    assert kinds([report for report in exchange.reports() if report.cl_ord_id == "a"]) == ["accepted", "cancelled"]
    assert kinds([report for report in exchange.reports() if report.cl_ord_id == "b"])[:2] == ["accepted", "fill"]
    exchange.log.close()


def test_a_noisy_duplicate_has_the_same_exec_id_and_another_price(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path, Faults(noisy_duplicate_rate=1))
    exchange.submit(order("a", ord_type="market", limit_px=None))
    exchange.pass_time()
    first, noisy = [report for report in exchange.reports() if report.kind == "fill"][:2]
    assert first.exec_id == noisy.exec_id
    assert first.last_px != noisy.last_px
    exchange.log.close()


def test_a_stray_fill_names_an_order_nobody_sent(exchange: Exchange) -> None:
    assert exchange.book.reports.add_unknown_fill("ACME", exchange.now_us) == ["cell-1"]
    exchange.commit()
    (report,) = exchange.reports()
    assert report.kind == "fill"
    assert not exchange.book.status("cell-1", Status(report.cl_ord_id), exchange.now_us)


def test_acknowledged_reports_are_trimmed_and_numbers_go_on_after_a_restart(exchange: Exchange) -> None:
    exchange.submit(order("a"))
    exchange.book.reports.acknowledge("cell-1", 99)
    exchange.commit()
    assert exchange.reports() == []
    exchange.crash()
    exchange.submit(order("b"))
    assert [report.seq for report in exchange.reports()] == [2]


def test_a_log_that_was_deleted_never_repeats_a_number_the_cell_knows(exchange: Exchange) -> None:
    assert exchange.book.reports.open_session("cell-9", 41) == 41
    exchange.submit(order("a"), session="cell-9")
    assert [report.seq for report in exchange.reports("cell-9")] == [42]


@settings(max_examples=25)
@given(crashes=st.sets(st.integers(0, 40)), lost=st.sets(st.integers(0, 40)))
def test_crashes_at_any_moment_change_no_fill_and_no_exec_id(
    tmp_path_factory: pytest.TempPathFactory, crashes: set[int], lost: set[int]
) -> None:
    """The same orders, with and without crashes; some lose an uncommitted submit, which is then sent again."""
    told = []
    for crashing in (False, True):
        exchange = Exchange(tmp_path_factory.mktemp("exchange"))
        exchange.book.reports.open_session("cell-1", 0)
        load(exchange)
        for number in range(40):
            terms = order(f"o{number}", ord_type="market") if number % 2 else taped(11 if number == 0 else 900 + number)
            if crashing and number in lost:
                exchange.book.submit("cell-1", terms, exchange.now_us)
                exchange.crash()
                assert not exchange.book.status("cell-1", Status(terms.cl_ord_id), exchange.now_us)
            exchange.submit(terms)
            exchange.now_us += 7_000
            exchange.book.advance(exchange.now_us)
            if crashing and number in crashes:
                exchange.crash()
            exchange.commit()
        exchange.pass_time()
        reports = exchange.reports()
        assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
        told.append({(report.exec_id, report.last_qty, report.last_px, report.cum_qty) for report in reports})
        exchange.log.close()
    assert told[0] == told[1]


def test_the_price_band_of_a_symbol_spans_all_its_tapes_and_survives_a_restart(exchange: Exchange) -> None:
    assert exchange.book.tapes.price_bands() == {}
    load(exchange)
    low, high = exchange.book.tapes.price_bands()["TAPED"]
    assert low <= 100_000_000 <= high
    far = b"34200,1,1,100,10000,1\n34201,1,2,100,99990000,-1\n"
    tape = parse_tape(far, symbol="TAPED", run="FAR")
    exchange.book.add_tape(tape, TapeRow("TAPED", "FAR", tape.digest, far, "now"), exchange.now_us)
    exchange.commit()
    assert exchange.book.tapes.price_bands() == {"TAPED": (1_000_000, 9_999_000_000)}
    exchange.crash()
    assert exchange.book.tapes.price_bands() == {"TAPED": (1_000_000, 9_999_000_000)}


def test_what_orders_traded_is_what_their_reports_say(tmp_path: Path) -> None:
    """Every execution counted from the reports, as a cell does it, against the log's own sums, a page at a time."""
    exchange = Exchange(tmp_path, Faults(bust_rate=0.3, correct_rate=0.5, late_fill_rate=0.5, duplicate_rate=0.2))
    exchange.book.reports.open_session("cell-1", 0)
    for number in range(60):
        exchange.submit(order(f"o{number:02}", side="sell" if number % 2 else "buy", limit_px=100_000_000))
        if number % 3 == 0:
            exchange.cancel(f"o{number:02}")
    for _ in range(4):
        exchange.pass_time()
        exchange.crash()
    stands: dict[str, dict[str, tuple[int, int]]] = {}
    seen: dict[str, set[str]] = {}
    for report in exchange.reports():
        if report.exec_id is None or report.exec_id in seen.setdefault(report.cl_ord_id, set()):
            continue
        assert report.last_qty is not None
        assert report.last_px is not None
        seen[report.cl_ord_id].add(report.exec_id)
        trades = stands.setdefault(report.cl_ord_id, {})
        trades.pop(report.exec_ref_id or "", None)
        if report.kind != "bust":
            trades[report.exec_id] = (report.last_qty, report.last_px)
    paged = exchange.log.traded_orders("", 7)
    while more := exchange.log.traded_orders(paged[-1].cl_ord_id, 7):
        paged += more
    assert [row.cl_ord_id for row in paged] == [f"o{number:02}" for number in range(60)]
    for row in paged:
        trades = stands.get(row.cl_ord_id, {})
        assert row.executions == len(seen.get(row.cl_ord_id, ()))
        assert row.cum_qty == sum(qty for qty, _ in trades.values())
        assert row.cum_cost == sum(qty * px for qty, px in trades.values())
    kinds_seen = Counter(kinds(exchange.reports()))
    assert min(kinds_seen["bust"], kinds_seen["correct"], kinds_seen["fill"]) > 5
    assert exchange.log.named_orders(["o03", "nobody"]) == [paged[3]]
    exchange.log.close()
