"""Logs as JSON lines on standard output, and one metric registry per process.

The supervisor owns log files and their rotation; a process only writes lines. Metrics are declared in one table per
package (`metrics.py`) and built here, so that the README's list can be generated from the table.
Never logs a secret: callers pass fields by name, and nothing dumps settings or headers.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One record, one line, fields of `extra=` beside the message."""

    def __init__(self, process_name: str) -> None:
        super().__init__()
        self._process_name = process_name

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process_name,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _RESERVED})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _encode(line)


def configure_logging(process_name: str, level: str = "INFO") -> None:
    """Send every logger to standard output as JSON lines."""
    out = logging.StreamHandler(sys.stdout)
    out.setFormatter(JsonLines(process_name))
    root = logging.getLogger()
    root.handlers[:] = [out]
    root.setLevel(level)


@dataclass(frozen=True)
class Metric:
    """A row of a package's metric table."""

    name: str
    kind: type[Counter] | type[Gauge] | type[Histogram]
    help: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] | None = None


LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """The metrics of one process, by name."""

    def __init__(self, table: Sequence[Metric]) -> None:
        self.registry = CollectorRegistry()
        self._by_name: dict[str, Counter | Gauge | Histogram] = {}
        for row in table:
            if row.kind is Histogram:
                buckets = row.buckets or LATENCY_BUCKETS_S
                self._by_name[row.name] = Histogram(
                    row.name, row.help, row.labels, buckets=buckets, registry=self.registry
                )
            else:
                self._by_name[row.name] = row.kind(row.name, row.help, row.labels, registry=self.registry)

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


def metrics_markdown(table: Sequence[Metric]) -> str:
    """The table that a package's README shows; a test holds the two together."""
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    rows = [f"| `{row.name}` | {kinds[row.kind]} | {', '.join(row.labels) or '-'} | {row.help} |" for row in table]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])
