"""May the run be believed? A generator that lagged measured itself, so its run is thrown away. Pure.

Three things are asked of each process: that its loop came round in time, that its requests left when they were due
(unless their customer still waited for an answer), and that it was not busy with itself. A platform that keeps
customers waiting does not make a generator dishonest: that is for the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec


class GeneratorFacts(msgspec.Struct, frozen=True):
    """Of one process."""

    process: str
    cores: list[int]
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    late_p50_ms: float
    late_p99_ms: float
    busiest_share: float
    """Of one core, in the busiest five seconds."""
    cpu_share: float
    sent: int
    niceness: int = 0
    """Its priority beside the cells: lower goes first."""


@dataclass(frozen=True, slots=True)
class HonestyLimits:
    """Each is the first value that is too much."""

    lag_p50_ms: float = 5.0
    """A loop that is later than this half of the time adds to everything it measures."""
    lag_p99_ms: float = 100.0
    """A fifth of what an order may take: a late loop now and then must not decide the verdict."""
    late_p50_ms: float = 5.0
    """A hundredth of what an order may take (p95 of half a second)."""
    late_p99_ms: float = 100.0
    busiest_share: float = 0.9
    """Locust itself warns there: above it, requests wait for the generator."""


DEFAULT_LIMITS: Final = HonestyLimits()

ADVICE: Final = (
    "What to change: a lower --base-rate; --processes for a generator that is busy with itself; other cores (--cores) "
    "or another machine for one that waits for the processor."
)


def why_thrown_away(facts: Sequence[GeneratorFacts], limits: HonestyLimits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """Nothing if the run may be believed."""
    if not facts:
        return ("no generator process wrote down what it measured",)
    found: list[str] = []
    for each in facts:
        measured = (
            ("the event loop was late by", each.lag_p50_ms, limits.lag_p50_ms, "ms at the median"),
            ("the event loop was late by", each.lag_p99_ms, limits.lag_p99_ms, "ms at the 99th percentile"),
            ("requests left late by", each.late_p50_ms, limits.late_p50_ms, "ms at the median"),
            ("requests left late by", each.late_p99_ms, limits.late_p99_ms, "ms at the 99th percentile"),
            ("of a core it took", each.busiest_share * 100, limits.busiest_share * 100, "% in its busiest 5 s"),
        )
        found += [
            f"{each.process}: {what} {value:.1f} {unit}, it must be less than {limit:g}"
            for what, value, limit, unit in measured
            if value >= limit
        ]
    return tuple(found)
