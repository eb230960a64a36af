"""Latency histograms: never understated, hardly overstated, merged and stored without loss."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.load.histogram import VALUE_MAX_US, LatencyHistogram, highest_in, merged, slot_of


@given(st.integers(0, VALUE_MAX_US))
def test_a_value_is_never_understated_and_overstated_by_less_than_a_128th(value_us: int) -> None:
    highest = highest_in(slot_of(value_us))
    assert value_us <= highest <= value_us + value_us // 128 + 1


def test_slots_follow_each_other_without_gap_or_overlap() -> None:
    for slot in range(4_000):
        assert slot_of(highest_in(slot)) == slot
        assert slot_of(highest_in(slot) + 1) == slot + 1


@pytest.mark.parametrize("percent", [50, 95, 99, 99.9, 100])
def test_percentiles_are_those_of_the_sorted_values(percent: float) -> None:
    chance = random.Random(4)
    values = sorted(int(chance.lognormvariate(9, 1.5)) for _ in range(5_000))
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    exact = values[-(-len(values) * round(percent * 1_000) // 100_000) - 1]
    assert exact <= histogram.percentile_us(percent) <= exact * 1.008 + 1


def test_the_highest_percentile_is_the_largest_value_itself() -> None:
    histogram = LatencyHistogram()
    histogram.record(1_000_003)
    assert histogram.percentile_us(100) == 1_000_003


def test_nothing_recorded_is_zero() -> None:
    assert LatencyHistogram().percentile_us(99) == 0


def test_parts_merged_are_the_whole_and_survive_being_written_down() -> None:
    chance = random.Random(7)
    parts = [LatencyHistogram() for _ in range(3)]
    whole = LatencyHistogram()
    for _ in range(1_000):
        value = chance.randrange(10_000_000)
        whole.record(value)
        chance.choice(parts).record(value)
    again = merged([LatencyHistogram.from_document(part.document()) for part in parts])
    assert (again.slots, again.count, again.max_us) == (whole.slots, whole.count, whole.max_us)


def test_what_is_no_histogram_is_refused() -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        LatencyHistogram.from_document({"slots": []})
