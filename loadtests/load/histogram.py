"""Latencies as counts in log-linear slots, the layout of HdrHistogram, but sparse: only slots that were hit exist.

A run keeps one histogram per second, cell, class, operation and outcome: ten thousand small ones, merged at will.
The `hdrhistogram` package (alive, 2026) allots every slot of every histogram, 24 KB each at two digits, and brings C
code; this needs a dictionary. A recorded value is never understated, and overstated by less than 0.8 %.
"""

from collections.abc import Mapping
from typing import Final, Self

_HALF_BITS: Final = 7
"""Seven bits of a value are kept: no percentile is wrong by more than a hundredth."""
_HALF: Final = 1 << _HALF_BITS
VALUE_MAX_US: Final = 3_600_000_000
"""An hour. What is larger counts as this: a request that takes longer has long been given up."""


class LatencyHistogram:
    """Counts of microseconds."""

    __slots__ = ("count", "max_us", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.count = 0
        self.max_us = 0

    def record(self, value_us: int, times: int = 1) -> None:
        value_us = min(max(value_us, 0), VALUE_MAX_US)
        slot = slot_of(value_us)
        self.slots[slot] = self.slots.get(slot, 0) + times
        self.count += times
        self.max_us = max(self.max_us, value_us)

    def add(self, other: "LatencyHistogram") -> None:
        for slot, times in other.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + times
        self.count += other.count
        self.max_us = max(self.max_us, other.max_us)

    def percentile_us(self, percent: float) -> int:
        """The value that this share of all is not above; 0 when nothing was recorded."""
        wanted = max(1, -(-self.count * round(percent * 1_000) // 100_000))
        seen = 0
        for slot in sorted(self.slots):
            seen += self.slots[slot]
            if seen >= wanted:
                return min(highest_in(slot), self.max_us)
        return self.max_us

    def document(self) -> dict[str, object]:
        return {"max_us": self.max_us, "slots": {str(slot): times for slot, times in self.slots.items()}}

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Self:
        """Of what `document` made. Raises ValueError for anything else."""
        slots, max_us = document.get("slots"), document.get("max_us")
        if not isinstance(slots, dict) or not isinstance(max_us, int):
            raise ValueError(f"not a histogram: {str(document)[:100]}")
        found = cls()
        found.slots = {int(slot): int(times) for slot, times in slots.items()}
        found.count = sum(found.slots.values())
        found.max_us = max_us
        return found


def slot_of(value_us: int) -> int:
    """Slots are one wide up to 255, two wide up to 511, four wide up to 1023, and so on."""
    shift = max(0, value_us.bit_length() - _HALF_BITS - 1)
    return shift * _HALF + (value_us >> shift)


def highest_in(slot: int) -> int:
    shift = max(0, slot // _HALF - 1)
    return ((slot - shift * _HALF + 1) << shift) - 1


def merged(histograms: "list[LatencyHistogram]") -> LatencyHistogram:
    whole = LatencyHistogram()
    for each in histograms:
        whole.add(each)
    return whole
