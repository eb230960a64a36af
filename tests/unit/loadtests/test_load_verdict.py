"""The verdict: what each rule catches, what only informs, and what throws a run away."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from loadtests.load.books import CellBooks
from loadtests.load.histogram import LatencyHistogram
from loadtests.load.honesty import why_thrown_away
from loadtests.load.measured import Measured, is_order
from loadtests.load.order_audit import Audit, compare
from loadtests.load.outcomes import Outcome, outcome_of
from loadtests.load.recorder import JournalEntry, Key, Samples, SentOrder
from loadtests.load.verdict import is_passed, judge
from tests.support.honest_run import BOOKS, HONEST

SPANS = (("calm", 0.0, 10.0), ("plateau", 10.0, 20.0))


def measured(*rows: tuple[int, str, str, Outcome, int, int]) -> Measured:
    """Rows of (interval, cell, operation, outcome, milliseconds, times)."""
    from_due: list[tuple[Key, dict[str, Any]]] = []
    for interval, cell, operation, outcome, ms, times in rows:
        histogram = LatencyHistogram()
        histogram.record(ms * 1000, times)
        from_due.append((Key(interval, "fomo-buyer", cell, operation, outcome), histogram.document()))
    return Measured([Samples("generator-1", 1.0, from_due, {}, {})], SPANS)


WELL = measured((3, "cell-1", "order", Outcome.DONE, 20, 100), (13, "cell-1", "quote", Outcome.DONE, 5, 900))


def wrong(found: Measured, audit: Audit | None = None, books: list[CellBooks] | None = None) -> list[str]:
    rules = judge(found, audit or Audit(acknowledged=100), BOOKS if books is None else books, due=0, admission_rate=0.0)
    return [rule.about for rule in rules if not rule.is_kept]


def test_a_run_without_fault_passes() -> None:
    rules = judge(WELL, Audit(acknowledged=100), BOOKS, due=1_000, admission_rate=0.0)
    assert is_passed(rules)
    assert [rule.about for rule in rules if not rule.limit] == [
        "orders acknowledged, p99",
        "shed (503 with Retry-After), their p99",
        "limited (429: one customer asked too often)",
    ]


def test_one_slow_cell_fails_though_all_together_are_fast() -> None:
    found = measured((3, "cell-1", "order", Outcome.DONE, 20, 10_000), (3, "cell-2", "order", Outcome.DONE, 501, 100))
    assert wrong(found) == ["cell-2: orders acknowledged, p95 of 100"]


def test_what_was_shed_is_no_error_and_what_broke_is() -> None:
    base = (3, "cell-1", "order", Outcome.DONE, 20, 999)
    assert not wrong(measured(base, (3, "cell-1", "order", Outcome.SHED, 5, 5_000)))
    assert not wrong(measured(base, (3, "cell-1", "order", Outcome.ERROR, 5, 1)))
    assert wrong(measured(base, (3, "cell-1", "order", Outcome.ERROR, 5, 2))) == ["requests that broke"]
    assert wrong(measured(base, (3, "cell-1", "order", Outcome.UNKNOWN, 5, 2))) == ["requests that broke"]


@pytest.mark.parametrize(
    ("audit", "about"),
    [
        (Audit(acknowledged=9, lost=1), "orders lost"),
        (Audit(acknowledged=9, doubled=1), "orders doubled"),
        (Audit(acknowledged=9, uncalled=1), "orders there that were refused or not sent"),
        (Audit(acknowledged=9, unresolved=1), "orders of which nobody knows"),
        (Audit(), "orders acknowledged"),
    ],
)
def test_each_wrong_order_fails(audit: Audit, about: str) -> None:
    assert wrong(WELL, audit) == [about]


def test_books_that_are_wrong_or_were_not_asked_fail() -> None:
    assert wrong(WELL, books=[CellBooks("cell-1", 1, 33, ["Kafka differs"])])
    assert wrong(WELL, books=[]) == ["ledger checks"]


def test_what_was_due_and_never_sent_fails() -> None:
    rules = judge(WELL, Audit(acknowledged=100), BOOKS, due=1_011, admission_rate=0.0)
    assert [rule.about for rule in rules if not rule.is_kept] == ["requests sent of those that were due"]


def test_nothing_sent_is_no_pass() -> None:
    assert "requests that broke" in wrong(measured())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lag_p50_ms": 5.0}, "event loop was late by 5.0"),
        ({"lag_p99_ms": 101.0}, "event loop was late by 101.0"),
        ({"late_p50_ms": 6.0}, "left late by 6.0"),
        ({"late_p99_ms": 500.0}, "left late by 500.0"),
        ({"busiest_share": 0.9}, "90.0 %"),
    ],
)
def test_a_generator_that_lagged_has_its_run_thrown_away(change: dict[str, Any], words: str) -> None:
    assert why_thrown_away([HONEST, HONEST]) == ()
    (reason,) = why_thrown_away([HONEST, msgspec.structs.replace(HONEST, **change)])
    assert words in reason


def test_a_generator_that_wrote_nothing_down_is_not_believed() -> None:
    assert why_thrown_away([])


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "writes", "outcome"),
    [
        (201, None, None, True, Outcome.DONE),
        (503, "OVERLOADED", "1", True, Outcome.SHED),
        (429, "RATE_LIMITED", "1", False, Outcome.LIMITED),
        (503, "OUTCOME_UNKNOWN", "1", True, Outcome.UNKNOWN),
        (503, "CELL_UNAVAILABLE", None, False, Outcome.ERROR),
        (503, None, None, True, Outcome.UNKNOWN),
        (500, None, None, True, Outcome.UNKNOWN),
        (0, None, None, True, Outcome.UNKNOWN),
        (0, None, None, False, Outcome.ERROR),
        (422, "ORDER_RATE_LIMIT", None, True, Outcome.REJECTED),
        (409, "ORDER_NOT_OPEN", None, True, Outcome.REJECTED),
        (401, "TOKEN_EXPIRED", None, True, Outcome.ERROR),
        (404, "ORDER_NOT_FOUND", None, False, Outcome.ERROR),
    ],
)
def test_what_an_answer_means(
    status: int, code: str | None, retry_after: str | None, writes: bool, outcome: Outcome
) -> None:
    assert outcome_of(status=status, code=code, retry_after=retry_after, writes=writes) is outcome


def entry(name: str, outcome: Outcome, order_id: str | None = None) -> JournalEntry:
    return JournalEntry(SentOrder("bot-0", name, f"{name}-key", {}), outcome, 0, order_id=order_id)


@pytest.mark.parametrize(
    ("known", "listed", "expected"),
    [
        ([entry("a", Outcome.DONE, "1")], [("a", "1")], Audit(acknowledged=1)),
        ([entry("a", Outcome.DONE, "1")], [], Audit(acknowledged=1, lost=1)),
        ([entry("a", Outcome.DONE, "1")], [("a", "2")], Audit(acknowledged=1, lost=1)),
        ([entry("a", Outcome.DONE, "1")], [("a", "1"), ("a", "2")], Audit(acknowledged=1, doubled=1)),
        ([entry("a", Outcome.REJECTED)], [], Audit()),
        ([entry("a", Outcome.REJECTED)], [("a", "1")], Audit(uncalled=1)),
        ([entry("a", Outcome.SHED)], [("a", "1")], Audit(uncalled=1)),
        ([entry("a", Outcome.UNKNOWN)], [], Audit(unresolved=1)),
        ([], [("b", "1")], Audit(uncalled=1)),
    ],
)
def test_an_order_is_there_exactly_once_if_it_was_acknowledged_and_not_at_all_if_not(
    known: list[JournalEntry], listed: list[tuple[str, str]], expected: Audit
) -> None:
    found = Audit()
    compare(known, listed, found)
    assert replace(found, examples=[]) == expected
    assert bool(found.examples) == any((expected.lost, expected.doubled, expected.uncalled, expected.unresolved))


def test_figures_fall_into_the_phase_and_the_second_in_which_requests_were_due() -> None:
    phases = WELL.by_phase()
    assert [(name, figures.count) for name, _, figures in phases] == [("calm", 100), ("plateau", 900)]
    points = WELL.over_time(is_order)
    assert [point.count for point in points] == [100 if second == 3 else 0 for second in range(20)]
