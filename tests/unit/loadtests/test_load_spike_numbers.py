"""The numbers of a spike: each fails by its own fault and no other, and none is judged where it cannot be."""

from collections.abc import Mapping
from typing import Any

import pytest

from loadtests.load.histogram import LatencyHistogram
from loadtests.load.measured import Measured
from loadtests.load.outcomes import Outcome
from loadtests.load.recorder import Key, Samples
from loadtests.load.rule import Rule
from loadtests.load.shapes import SHAPES
from loadtests.load.spike_numbers import recovered_after_s, spike_rules

SPIKE = SHAPES["meme-spike"](1)
RATE = 10.0
"""Orders a second, of each of two cells."""
ACCEPTED, REFUSED, FAILURE, CELL_1, CELL_2, RECOVERED = range(6)
Row = tuple[int, str, Outcome, int, int]
"""(second, cell, outcome, ms, times)"""


def measured(rows: list[Row], *, lasting_s: float = 360.0) -> Measured:
    from_due: list[tuple[Key, dict[str, Any]]] = []
    for second, cell, outcome, ms, times in rows:
        histogram = LatencyHistogram()
        histogram.record(ms * 1000, times)
        from_due.append((Key(second, "fomo-buyer", cell, "order", outcome), histogram.document()))
    return Measured([Samples("generator-1", 1.0, from_due, {}, {})], SPIKE.lasting(lasting_s).spans())


def morning(
    *,
    plateau_ms: int = 25,
    shed_ms: int = 3,
    admitted: Mapping[str, int] = {"cell-1": 10, "cell-2": 10},
    slow_until: int = 0,
) -> list[Row]:
    """360 seconds: 5 orders a second in the calm, 30 in rise, plateau and decay, of which `admitted` are."""
    rows: list[Row] = []
    for cell, most in admitted.items():
        for second in range(360):
            busy = 60 <= second < 300
            ms = plateau_ms if busy else 200 if 300 <= second < slow_until else 20
            rows.append((second, cell, Outcome.DONE, ms, most if busy else 5))
            if busy:
                rows.append((second, cell, Outcome.SHED, shed_ms, 30 - most))
    return rows


def judged(rows: list[Row], rate: float = RATE) -> list[Rule]:
    return spike_rules(measured(rows), rate)


def broken(rows: list[Row]) -> list[int]:
    return [number for number, rule in enumerate(judged(rows)) if not rule.is_kept]


def test_a_morning_that_nobody_inside_noticed_passes_and_every_number_is_judged() -> None:
    rules = judged(morning())
    assert [rule.is_kept for rule in rules] == [True] * 6
    assert all(rule.limit for rule in rules)
    assert "25.0" in rules[ACCEPTED].measured
    assert "1.00 of the rate" in rules[CELL_1].measured


def test_each_number_fails_alone() -> None:
    assert broken(morning(plateau_ms=59)) == []
    assert broken(morning(plateau_ms=62)) == [ACCEPTED]
    assert broken(morning(shed_ms=99)) == []
    assert broken(morning(shed_ms=101)) == [REFUSED]
    assert broken(morning(admitted={"cell-1": 9, "cell-2": 10})) == []
    assert broken(morning(admitted={"cell-1": 8, "cell-2": 10})) == [CELL_1]
    assert broken(morning(slow_until=309)) == []
    assert broken(morning(slow_until=314)) == [RECOVERED]
    assert broken(morning(slow_until=360)) == [RECOVERED]


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.UNKNOWN, Outcome.LIMITED])
@pytest.mark.parametrize("second", [5, 150, 350])
def test_one_failure_of_another_kind_at_any_time_fails(outcome: Outcome, second: int) -> None:
    assert broken([*morning(), (second, "cell-1", outcome, 5, 1)]) == [FAILURE]


def test_where_less_than_the_rate_was_offered_all_of_it_must_get_through() -> None:
    assert all(rule.is_kept for rule in judged(morning(admitted={"cell-1": 30, "cell-2": 28}), rate=100.0))
    assert broken(morning(admitted={"cell-1": 30, "cell-2": 26})) == []
    rules = judged(morning(admitted={"cell-1": 30, "cell-2": 26}), rate=100.0)
    assert [number for number, rule in enumerate(rules) if not rule.is_kept] == [CELL_2]
    assert "of what was offered" in rules[CELL_2].measured


def test_without_a_stated_rate_there_is_nothing_to_get_through() -> None:
    rules = judged(morning(), rate=0.0)
    assert [rule.limit for rule in rules if "stated rate" in rule.about] == [""]


def test_a_spike_of_no_orders_fails() -> None:
    assert ACCEPTED in broken([])


def test_a_run_that_ends_too_soon_states_what_it_saw_of_the_end() -> None:
    rules = spike_rules(measured(morning(), lasting_s=36.0), RATE)
    assert not rules[-1].limit
    assert "too short" in rules[-1].measured


def test_another_shape_has_no_such_numbers() -> None:
    assert spike_rules(Measured([], SHAPES["market-open"](1).spans()), RATE) == []


def test_the_recovery_is_the_first_moment_from_which_on_all_is_well() -> None:
    rows = morning() + [(second, "cell-1", Outcome.DONE, 500, 40) for second in (304, 320)]
    found = measured(rows)
    assert recovered_after_s(found, 20_000, 300.0) == 21.0
    assert recovered_after_s(found, 20_000, 340.0) == 0.0
    assert recovered_after_s(found, 20_000, 359.0) is None, "too few orders are left"
