"""The metrics that each kind of process exports, and the check that a query names no other.

The only place where the tables of all packages meet. A query that names what nobody exports is an alert that never
fires and a panel that is always empty: `check_names` refuses it when rules and dashboards are made.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import Histogram

from cell.executions.metrics import WORKER_METRICS
from cell.metrics import TABLE as API_METRICS
from cell.outbox.metrics import RELAY_METRICS
from exchange.metrics import METRICS as EXCHANGE_METRICS
from infra.runtime.telemetry import RUNTIME_METRICS, Metric
from router.metrics import TABLE as ROUTER_METRICS
from shardctl.service.metrics import METRICS as CONTROL_METRICS

TABLES: Final[Mapping[str, Sequence[Metric]]] = {
    "api": API_METRICS,
    "worker": WORKER_METRICS,
    "relay": RELAY_METRICS,
    "router": ROUTER_METRICS,
    "exchange": EXCHANGE_METRICS,
    "control": CONTROL_METRICS,
}
"""By the job that a process is scraped under."""

LIBRARY: Final = frozenset(
    {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    }
)
"""Of every process, from the client library (Linux); a test finds them in what a process renders."""
SCRAPE: Final = frozenset({"up"})
"""Prometheus's own, about each target."""

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEFT_OUT: Final = re.compile(
    r'"[^"]*"'  # label values
    r"|\{[^}]*\}"  # matchers
    r"|\[[^\]]*\]"  # ranges
    r"|\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)"  # label lists
)
_WORDS: Final = frozenset(
    {"and", "or", "unless", "bool", "offset", "by", "on", "sum", "max", "min", "avg", "count", "topk", "clamp_min"}
    | {"rate", "increase", "changes", "histogram_quantile", "absent", "vector", "time"}
)
"""Of the query language, those that are used here."""


class UnknownMetric(Exception):
    """A query names a metric that no process exports."""


def exported(tables: Iterable[Sequence[Metric]] = TABLES.values()) -> frozenset[str]:
    """Every name that a query may use; a histogram's are those of its series."""
    names = set(LIBRARY | SCRAPE)
    for row in (*RUNTIME_METRICS, *(row for table in tables for row in table)):
        suffixes = ("_bucket", "_count", "_sum") if row.kind is Histogram else ("",)
        names |= {row.name + suffix for suffix in suffixes}
    return frozenset(names)


def names_in(query: str) -> frozenset[str]:
    """The metrics that a PromQL query names."""
    return frozenset(_NAME.findall(_LEFT_OUT.sub(" ", query.replace("$__rate_interval", "")))) - _WORDS


def check_names(where: str, query: str) -> None:
    """Raises UnknownMetric."""
    named = names_in(query)
    unknown = named - exported()
    if unknown or not named:
        raise UnknownMetric(f"{where}: no process exports {', '.join(sorted(unknown)) or 'anything'} in: {query}")
