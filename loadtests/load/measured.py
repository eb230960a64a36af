"""From the samples of all processes to figures: by phase, by cell, by class, over time. Pure.

Latencies are of what was done, from when it was due; what was shed, rejected or broke is counted beside it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.load.histogram import LatencyHistogram
from loadtests.load.outcomes import Outcome
from loadtests.load.recorder import Key, Samples

ORDER = "order"


@dataclass(slots=True)
class Figures:
    """Of some part of a run. `done` holds the latencies of what was done, `shed` of what was shed."""

    outcomes: Counter[str] = field(default_factory=Counter)
    done: LatencyHistogram = field(default_factory=LatencyHistogram)
    shed: LatencyHistogram = field(default_factory=LatencyHistogram)

    def add(self, key: Key, histogram: LatencyHistogram) -> None:
        self.outcomes[key.outcome] += histogram.count
        if key.outcome == Outcome.DONE:
            self.done.add(histogram)
        elif key.outcome == Outcome.SHED:
            self.shed.add(histogram)

    @property
    def count(self) -> int:
        return self.outcomes.total()

    @property
    def broken(self) -> int:
        """Errors, and orders of which nobody could tell at first."""
        return self.outcomes[Outcome.ERROR] + self.outcomes[Outcome.UNKNOWN]

    def row(self, seconds: float) -> dict[str, float]:
        """For tables and JSON; rates are per second."""
        return {
            "requests": self.count,
            "per_s": round(self.count / seconds, 2) if seconds else 0.0,
            "done_per_s": round(self.outcomes[Outcome.DONE] / seconds, 2) if seconds else 0.0,
            "p50_ms": self.done.percentile_us(50) / 1000,
            "p95_ms": self.done.percentile_us(95) / 1000,
            "p99_ms": self.done.percentile_us(99) / 1000,
            "max_ms": self.done.max_us / 1000,
            "rejected": self.outcomes[Outcome.REJECTED],
            "limited": self.outcomes[Outcome.LIMITED],
            "shed": self.outcomes[Outcome.SHED],
            "shed_p99_ms": self.shed.percentile_us(99) / 1000,
            "broken": self.broken,
        }


class Measured:
    """All samples of a run. `spans` are its phases: (name, begin, end) in seconds."""

    def __init__(self, samples: Sequence[Samples], spans: Sequence[tuple[str, float, float]]) -> None:
        self.spans = tuple(spans)
        self.interval_s = max((each.interval_s for each in samples), default=1.0)
        self.rows = [
            (key, LatencyHistogram.from_document(document)) for each in samples for key, document in each.from_due
        ]
        self.from_sent: dict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        for each in samples:
            for operation, document in each.from_sent.items():
                self.from_sent[operation].add(LatencyHistogram.from_document(document))

    @property
    def cells(self) -> list[str]:
        return sorted({key.cell for key, _ in self.rows})

    @property
    def classes(self) -> list[str]:
        return sorted({key.customer_class for key, _ in self.rows})

    @property
    def duration_s(self) -> float:
        return self.spans[-1][2] if self.spans else 0.0

    def figures(self, is_wanted: Callable[[Key], bool] = lambda _: True) -> Figures:
        found = Figures()
        for key, histogram in self.rows:
            if is_wanted(key):
                found.add(key, histogram)
        return found

    def over_time(self, is_wanted: Callable[[Key], bool] = lambda _: True) -> list[Figures]:
        """A point for each interval of the run."""
        points = [Figures() for _ in range(max(1, -(-int(self.duration_s * 1000) // int(self.interval_s * 1000))))]
        for key, histogram in self.rows:
            if is_wanted(key) and 0 <= key.interval < len(points):
                points[key.interval].add(key, histogram)
        return points

    def by_phase(self, is_wanted: Callable[[Key], bool] = lambda _: True) -> list[tuple[str, float, Figures]]:
        """(phase, seconds, figures); an interval belongs to the phase in which its middle lies."""
        phases = [(name, end_s - begin_s, Figures()) for name, begin_s, end_s in self.spans]
        for key, histogram in self.rows:
            middle_s = (key.interval + 0.5) * self.interval_s
            for (_, begin_s, end_s), (_, _, figures) in zip(self.spans, phases, strict=True):
                if begin_s <= middle_s < end_s and is_wanted(key):
                    figures.add(key, histogram)
        return phases


def is_order(key: Key) -> bool:
    return key.operation == ORDER


def of_cell(cell: str) -> Callable[[Key], bool]:
    return lambda key: key.cell == cell


def of_class(name: str) -> Callable[[Key], bool]:
    return lambda key: key.customer_class == name


def every(*wanted: Callable[[Key], bool]) -> Callable[[Key], bool]:
    return lambda key: all(each(key) for each in wanted)


def summed(figures: Iterable[Figures]) -> int:
    return sum(each.count for each in figures)
