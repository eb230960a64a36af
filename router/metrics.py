"""The router's metrics, in one table. The request path adds to plain integers (`Figures`); they become metrics
here, when somebody asks, because a client library's counter costs more than the forwarding of a header."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from infra.runtime.map_watcher import MapWatch
from infra.runtime.telemetry import Metric, PlainFamily, latency_buckets, plain_family
from router.fleet import Upstream
from router.kinds import CUSTOMERS, Kind

_LATENCY: Final = Metric(
    "router_request_seconds", Histogram, "From the whole request to the answer passed on", ("cell",)
)

TABLE: Final = (
    Metric("router_requests_total", Counter, "Answers of a cell passed on, by class of status", ("cell", "result")),
    _LATENCY,
    Metric("router_requests_in_flight", Gauge, "Requests inside a cell", ("cell",)),
    Metric("router_requests_queued", Gauge, "Requests waiting for a permit of a cell", ("cell",)),
    Metric("router_requests_admitted_total", Counter, "Customers' requests within the cell's rate", ("cell", "kind")),
    Metric(
        "router_requests_shed_total",
        Counter,
        "503 before a cell was asked, by reason: rate (above the cell's), queue (no permit in time)",
        ("cell", "kind", "reason"),
    ),
    Metric(
        "router_admission_cap_per_second",
        Gauge,
        "What this router lets into a cell; no sample without a stated rate",
        ("cell", "kind"),
    ),
    Metric("router_admission_tokens", Gauge, "What of it is there at once; half is for the quiet", ("cell", "kind")),
    Metric(
        "router_requests_over_share_total", Counter, "Requests whose customer had the whole share of one", ("cell",)
    ),
    Metric("router_slow_answers", Gauge, "Large answers whose readers are slow", ("cell",)),
    Metric("router_connections_broken_total", Counter, "Connections to a cell that broke under a request", ("cell",)),
    Metric("router_requests_resent_total", Counter, "Requests sent a second time after that", ("cell",)),
    Metric("router_misroutes_total", Counter, "421 answers of a cell", ("cell",)),
    Metric("router_misroute_loops_total", Counter, "Requests refused with 421 by every cell that map and hints named"),
    Metric("router_hints_followed_total", Counter, "Requests sent to the cell that another one named as the owner"),
    Metric("router_held_requests", Gauge, "Requests that wait for the end of their user's move"),
    Metric("router_holds_total", Counter, "Requests that were held"),
    Metric("router_holds_abandoned_total", Counter, "Held requests given up: too long, or the client left"),
    Metric("router_holds_shed_total", Counter, "Requests not held because too many were held already"),
    Metric("router_rejected_by_user_limit_total", Counter, "Requests rejected because the customer sent too many"),
    Metric("router_rejected_by_address_limit_total", Counter, "Requests rejected because the address sent too many"),
    Metric("router_token_buckets", Gauge, "Token buckets of customers and addresses that are not full"),
    Metric("router_breakers_open", Gauge, "Servers of a cell that are not asked at the moment", ("cell",)),
    Metric("router_breaker_trips_total", Counter, "Times a server's breaker opened", ("cell",)),
    Metric("router_refusals_total", Counter, "Requests the router itself refused", ("code",)),
    Metric("router_tokens_verified_total", Counter, "Access tokens whose signature was checked"),
    Metric("router_revoked_users", Gauge, "Users of whom access tokens are void before they expire"),
    Metric("router_revocations_refused_total", Counter, "Lists of revocations that were damaged"),
    Metric("router_tunnels", Gauge, "Open WebSockets into a cell", ("cell",)),
    Metric("router_access_log_lines_dropped_total", Counter, "Lines the access log dropped because they were too many"),
    Metric("router_client_connections", Gauge, "Open client connections"),
    Metric("router_client_connections_refused_total", Counter, "Connections refused because there were too many"),
    Metric("router_map_epoch", Gauge, "Epoch of the map in memory; 0 without one"),
    Metric("router_map_age_seconds", Gauge, "Since Redis or the control database last confirmed it; -1 if never"),
    Metric("router_map_deltas_total", Counter, "New maps that came as a change to the one held"),
    Metric("router_map_gaps_total", Counter, "Changes that did not fit the map held, so all of it was read"),
    Metric("router_map_refused_total", Counter, "Maps refused: corrupted, lineage, older", ("reason",)),
    Metric("router_map_source_failures_total", Counter, "Readings a map source did not answer", ("source",)),
    Metric("router_claims_finished_total", Counter, "Half-done sign-ups the sweep finished"),
    Metric("router_claims_freed_total", Counter, "Half-done sign-ups the sweep gave back"),
)

Reading = Callable[[], float]


class RouterCollector(Collector):
    """Reads the figures when Prometheus asks."""

    def __init__(
        self,
        *,
        cells: Callable[[], Iterable[Upstream]],
        refusals: dict[str, int],
        watch: MapWatch,
        readings: dict[str, Reading],
        now: Callable[[], float],
    ) -> None:
        self._cells = cells
        self._refusals = refusals
        self._watch = watch
        self._readings = readings
        self._now = now

    def collect(self) -> Iterable[Family]:
        latency = HistogramMetricFamily(_LATENCY.name, _LATENCY.help, labels=_LATENCY.labels)
        by_name = {row.name: plain_family(row) for row in TABLE if row is not _LATENCY}
        for cell in self._cells():
            self._add_cell(by_name, latency, cell)
        for code, count in sorted(self._refusals.items()):
            by_name["router_refusals_total"].add_metric([code], count)
        for reason, count in self._watch.refused.items():
            by_name["router_map_refused_total"].add_metric([reason], count)
        for source, count in self._watch.unavailable.items():
            by_name["router_map_source_failures_total"].add_metric([source], count)
        shard_map, confirmed_at_s = self._watch.shard_map, self._watch.confirmed_at_s
        by_name["router_map_epoch"].add_metric([], shard_map.epoch if shard_map else 0)
        by_name["router_map_age_seconds"].add_metric([], self._now() - confirmed_at_s if confirmed_at_s else -1)
        by_name["router_map_deltas_total"].add_metric([], self._watch.deltas)
        by_name["router_map_gaps_total"].add_metric([], self._watch.gaps)
        for name, reading in self._readings.items():
            by_name[name].add_metric([], reading())
        return [latency, *by_name.values()]

    def _add_cell(self, by_name: dict[str, PlainFamily], latency: HistogramMetricFamily, cell: Upstream) -> None:
        label, figures, now_s = [cell.label], cell.figures, self._now()
        for hundreds in range(1, 6):
            by_name["router_requests_total"].add_metric([*label, f"{hundreds}xx"], figures.answers[hundreds])
        latency.add_metric(label, latency_buckets(figures.latency_counts), figures.latency_sum_s)
        for name, value in (
            ("router_requests_in_flight", cell.bulkhead.in_flight),
            ("router_tunnels", cell.tunnels),
            ("router_requests_queued", cell.bulkhead.queued),
            ("router_requests_over_share_total", cell.bulkhead.over_share),
            ("router_slow_answers", cell.slow_answers),
            ("router_connections_broken_total", figures.broken),
            ("router_requests_resent_total", figures.resent),
            ("router_misroutes_total", figures.misdirected),
            ("router_breakers_open", sum(server.breaker.is_open(now_s) for server in cell.servers)),
            ("router_breaker_trips_total", sum(server.breaker.trips for server in cell.servers)),
        ):
            by_name[name].add_metric(label, value)
        _add_admission(by_name, label, cell, now_s)


def _add_admission(by_name: dict[str, PlainFamily], label: list[str], cell: Upstream, now_s: float) -> None:
    for kind in Kind:
        row = [*label, kind.label]
        by_name["router_requests_shed_total"].add_metric([*row, "queue"], cell.bulkhead.shed[kind])
        if kind in CUSTOMERS:
            by_name["router_requests_admitted_total"].add_metric(row, cell.admission.admitted[kind])
            by_name["router_requests_shed_total"].add_metric([*row, "rate"], cell.admission.shed[kind])
    for kind, rate in zip(CUSTOMERS, cell.admission.rates, strict=False):
        by_name["router_admission_cap_per_second"].add_metric([*label, kind.label], rate.per_s)
        by_name["router_admission_tokens"].add_metric([*label, kind.label], rate.tokens(now_s))
