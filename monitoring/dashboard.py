"""A dashboard as a value: rows of panels, each panel a few queries. What Grafana makes of it is `grafana.py`'s.

Queries may use `$cell` (a choice of cells, as a regular expression) and `$__rate_interval`, as Grafana fills them in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from monitoring.tables import check_names


class Unit(StrEnum):
    """Grafana's names of units."""

    PER_SECOND = "ops"
    SECONDS = "s"
    COUNT = "short"
    SHARE = "percentunit"
    BYTES = "bytes"


class Shape(StrEnum):
    """Grafana's names of panels."""

    LINES = "timeseries"
    FIGURE = "stat"


@dataclass(frozen=True, slots=True)
class Query:
    promql: str
    legend: str
    """With `{{label}}` of the series."""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: Unit
    queries: tuple[Query, ...]
    help: str = ""
    shape: Shape = Shape.LINES

    def __post_init__(self) -> None:
        for query in self.queries:
            check_names(self.title, query.promql)


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    chooses_cell: bool = False

    def queries(self) -> Iterator[tuple[str, str]]:
        """(panel's title, query), of all panels."""
        for row in self.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield panel.title, query.promql


def one(title: str, unit: Unit, promql: str, legend: str, *, help: str = "", shape: Shape = Shape.LINES) -> Panel:
    """A panel of one query."""
    return Panel(title, unit, (Query(promql, legend),), help, shape)


def rate(counter: str, by: str) -> str:
    """Per second, summed by these labels; `counter` may have matchers."""
    return f"sum by ({by}) (rate({counter}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str, matchers: str = "") -> str:
    """Of a histogram's buckets."""
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({histogram}_bucket{{{matchers}}}[$__rate_interval])))"


def quantiles(title: str, histogram: str, by: str, matchers: str = "", *, help: str = "") -> Panel:
    """The median, the 95th and the 99th percentile."""
    shown = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    queries = tuple(
        Query(quantile(share, histogram, by, matchers), f"{name} {{{{{by.split(',')[0]}}}}}") for share, name in shown
    )
    return Panel(title, Unit.SECONDS, queries, help)
