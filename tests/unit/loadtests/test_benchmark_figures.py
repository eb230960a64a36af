"""Figures that benchmarks derive: how busy the machine was, and a full cell beside an empty one."""

from collections import namedtuple

from loadtests.benchmarks.growth import of_empty
from loadtests.measurement.alternation import busy_share

Times = namedtuple("Times", "user system idle iowait guest guest_nice")


def test_the_machine_is_busy_with_everything_but_waiting_and_guests_count_once() -> None:
    assert busy_share(Times(0, 0, 0, 0, 0, 0), Times(4, 2, 3, 1, 2, 0)) == 0.6
    assert busy_share(Times(5, 5, 5, 5, 0, 0), Times(5, 5, 15, 5, 0, 0)) == 0.0


def test_a_full_cell_is_compared_within_a_round() -> None:
    pairs = [(90.0, 100.0), (40.0, 50.0), (7.0, 10.0)]
    rounds = [{"full": {"per_s": full}, "empty": {"per_s": empty}} for full, empty in pairs]
    assert of_empty(rounds, "per_s") == 0.8
