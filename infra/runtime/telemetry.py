"""One registry of metrics per process.

Metrics are declared in one table per package (`metrics.py`) and built here, so that the README's list can be generated
from the table. Beside its own, every process has those of the client library (process, platform, garbage collector),
the lag of its event loop and the name of its build. Log lines are `logs.py`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from infra.runtime.build import build_id


@dataclass(frozen=True)
class Metric:
    """A row of a package's metric table."""

    name: str
    kind: type[Counter] | type[Gauge] | type[Histogram]
    help: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] | None = None


LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""In steps of two to two and a half, from what a warm read takes to a command's deadline."""
EVENT_LOOP_LAG: Final = "python_event_loop_lag_seconds"
BUILD_INFO: Final = "build_info"
RUNTIME_METRICS: Final = (Metric(EVENT_LOOP_LAG, Histogram, "How late the event loop ran a timer that was due."),)
"""Of every process, whatever its package."""


class Metrics:
    """The metrics of one process, by name. Asking for a name that is not in the table, or for another kind, is a fault
    of ours: `KeyError`, `AssertionError`."""

    def __init__(self, table: Sequence[Metric]) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._by_name: dict[str, Counter | Gauge | Histogram] = {}
        for row in (*RUNTIME_METRICS, *table):
            if row.kind is Histogram:
                buckets = row.buckets or LATENCY_BUCKETS_S
                self._by_name[row.name] = Histogram(
                    row.name, row.help, row.labels, buckets=buckets, registry=self.registry
                )
            else:
                self._by_name[row.name] = row.kind(row.name, row.help, row.labels, registry=self.registry)

        build = Info(BUILD_INFO.removesuffix("_info"), "The build that the process runs.", registry=self.registry)
        build.info({"release": build_id()})

    def counter(self, name: str) -> Counter:
        found = self._by_name[name]
        assert isinstance(found, Counter), name
        return found

    def gauge(self, name: str) -> Gauge:
        found = self._by_name[name]
        assert isinstance(found, Gauge), name
        return found

    def histogram(self, name: str) -> Histogram:
        found = self._by_name[name]
        assert isinstance(found, Histogram), name
        return found

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)


PlainFamily = CounterMetricFamily | GaugeMetricFamily


def plain_family(row: Metric) -> PlainFamily:
    """An empty counter or gauge, for a collector that turns figures into metrics when somebody asks."""
    kind = CounterMetricFamily if row.kind is Counter else GaugeMetricFamily
    return kind(row.name, row.help, labels=row.labels)


def latency_buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    """As a histogram shows them, each with those below it, of the counts in each of `LATENCY_BUCKETS_S` and above."""
    bounds = (*map(str, LATENCY_BUCKETS_S), "+Inf")
    return list(zip(bounds, accumulate(counts), strict=True))


def metrics_markdown(table: Sequence[Metric]) -> str:
    """The table that a package's README shows; a test holds the two together."""
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    rows = [f"| `{row.name}` | {kinds[row.kind]} | {', '.join(row.labels) or '-'} | {row.help} |" for row in table]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])
