"""What an app server counts of its requests: plain numbers on the way of an order, metrics only when somebody asks.

A client library's counter costs more than the parsing of a token, so a request adds to three lists and nothing else
(two readings of a clock and a binary search, about a microsecond). What a request is counted as is its route and the
class of its status; a client that left before the answer is not counted. The pools keep their own figures; they are
read here too. Never blocks, never asks the database.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from cell.metrics import LATENCY, POOLS, REQUESTS
from infra.runtime.database import Pool
from infra.runtime.fair_permits import FairPermits
from infra.runtime.telemetry import LATENCY_BUCKETS_S, latency_buckets, plain_family


class RouteFigures:
    """Of one route."""

    __slots__ = ("answers", "latency_counts", "latency_sum_s")

    def __init__(self) -> None:
        self.answers = [0] * 6
        """By class of status: index 2 is 2xx."""
        self.latency_counts = [0] * (len(LATENCY_BUCKETS_S) + 1)
        """Per bucket, not yet summed up."""
        self.latency_sum_s = 0.0

    def answered(self, status: int, took_s: float) -> None:
        self.answers[status // 100] += 1
        self.latency_counts[bisect_left(LATENCY_BUCKETS_S, took_s)] += 1
        self.latency_sum_s += took_s


class RequestFigures:
    """The requests of one process: the two of the order path, whose latency is promised, and the others together."""

    __slots__ = ("cancel", "other", "place")

    def __init__(self) -> None:
        self.place, self.cancel, self.other = RouteFigures(), RouteFigures(), RouteFigures()

    def by_route(self) -> dict[str, RouteFigures]:
        return {"place": self.place, "cancel": self.cancel, "other": self.other}


class AppServerCollector(Collector):
    """Turns the figures into metrics, and reads what the pools count of themselves."""

    def __init__(self, requests: RequestFigures, pools: Mapping[str, Pool], shares: FairPermits) -> None:
        self._requests = requests
        self._pools = pools
        self._shares = shares

    def collect(self) -> Iterable[Family]:
        answers = CounterMetricFamily(REQUESTS.name, REQUESTS.help, labels=REQUESTS.labels)
        latency = HistogramMetricFamily(LATENCY.name, LATENCY.help, labels=LATENCY.labels)
        for route, figures in self._requests.by_route().items():
            for hundreds in range(2, 6):
                answers.add_metric([route, f"{hundreds}xx"], figures.answers[hundreds])
            latency.add_metric([route], latency_buckets(figures.latency_counts), figures.latency_sum_s)
        return [answers, latency, *self._pool_families()]

    def _pool_families(self) -> Iterable[Family]:
        families = {row.name: plain_family(row) for row in POOLS}
        for name, pool in self._pools.items():
            stats = pool.get_stats()
            for metric, value in (
                ("cell_pool_connections", stats.get("pool_size", 0)),
                ("cell_pool_connections_idle", stats.get("pool_available", 0)),
                ("cell_pool_requests_waiting", stats.get("requests_waiting", 0)),
                ("cell_pool_waits_total", stats.get("requests_queued", 0)),
                ("cell_pool_wait_seconds_total", stats.get("requests_wait_ms", 0) / 1000),
                ("cell_pool_refusals_total", stats.get("requests_errors", 0)),
            ):
                families[metric].add_metric([name], value)
        families["cell_pool_share_waiting"].add_metric([], self._shares.waiting)
        return families.values()
