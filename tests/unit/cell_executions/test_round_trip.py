"""Round trips are a bounded sample, and only answered ones count."""

from dataclasses import dataclass, field

from cell.executions.round_trip import FORGET_S, TIMED_MAX, RoundTrips


@dataclass
class Scene:
    at_s: float = 0.0
    took_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trips = RoundTrips(self.took_s.append, lambda: self.at_s)


def test_the_first_report_ends_a_round_trip_and_later_ones_count_nothing() -> None:
    scene = Scene()
    scene.trips.sent("a")
    scene.at_s = 0.25
    scene.trips.heard("a")
    scene.trips.heard("a")
    scene.trips.heard("never sent")
    assert scene.took_s == [0.25]


def test_an_order_sent_again_counts_from_the_first_time() -> None:
    scene = Scene()
    scene.trips.sent("a")
    scene.at_s = 5.0
    scene.trips.sent("a")
    scene.at_s = 6.0
    scene.trips.heard("a")
    assert scene.took_s == [6.0]


def test_silent_orders_give_up_their_places_and_are_no_latency() -> None:
    scene = Scene()
    for number in range(TIMED_MAX):
        scene.trips.sent(f"silent {number}")
    scene.trips.sent("no place")
    scene.at_s = FORGET_S
    scene.trips.sent("timed")
    scene.at_s = FORGET_S + 1
    for name in ("no place", "silent 0", "timed"):
        scene.trips.heard(name)
    assert scene.took_s == [1.0]


def test_a_broken_connection_forgets() -> None:
    scene = Scene()
    scene.trips.sent("a")
    scene.trips.parted()
    scene.trips.heard("a")
    assert scene.took_s == []
