"""Which metrics a query names, and that the library's own, which stand in no table, are exported."""

import sys

import pytest

from infra.backends.cell_spec import ProcessKind
from infra.runtime.telemetry import Metrics
from monitoring.tables import LIBRARY, TABLES, UnknownMetric, check_names, exported, names_in


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("up == 0", {"up"}),
        ('sum by (cell, le) (rate(a_bucket{cell="x",b=~"c_d"}[5m])) / on (cell) b_total', {"a_bucket", "b_total"}),
        ("a > 0 and on (instance) b == 1 or absent(c) unless max by (cell) (d)", {"a", "b", "c", "d"}),
        ("rate(a[$__rate_interval])", {"a"}),
        ('count(a{job="worker"} == 0) or vector(0)', {"a"}),
    ],
)
def test_names_are_found(query: str, names: set[str]) -> None:
    assert names_in(query) == names


@pytest.mark.parametrize("query", ["cell_orders_stuk", "cell_batch_seconds", "vector(1)", "cell_commands_total_bucket"])
def test_what_nobody_exports_is_refused(query: str) -> None:
    """A histogram has no series of its own name."""
    with pytest.raises(UnknownMetric):
        check_names("here", query)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the client library reads /proc")
def test_the_library_exports_what_is_said_of_it() -> None:
    rendered = Metrics(()).render().decode()
    assert {name for name in LIBRARY if f"\n{name} " in rendered} == LIBRARY


def test_every_table_is_here() -> None:
    assert {"cell_requests_total", "cell_orders_stuck", "cell_outbox_active", "router_map_epoch"} <= exported()
    assert set(TABLES) <= set(ProcessKind), "a job is a kind of process"
