"""Every declared metric moves in a test, and is called what Prometheus expects (the rules of promlint)."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import Counter, Gauge, Histogram

from cell.executions.metrics import WORKER_METRICS
from cell.metrics import TABLE as CELL
from cell.outbox.metrics import RELAY_METRICS
from exchange.metrics import METRICS as EXCHANGE
from infra.runtime.telemetry import RUNTIME_METRICS, Metric, Metrics
from router.metrics import TABLE as ROUTER
from shardctl.service.metrics import METRICS as CONTROL
from tests.support.outside_tools import outside_tool

TESTS: Final = Path(__file__).parents[1]
DECLARED: Final = (*CELL, *WORKER_METRICS, *RELAY_METRICS, *ROUTER, *EXCHANGE, *CONTROL, *RUNTIME_METRICS)
NAMES: Final = [row.name for row in DECLARED]
PACKAGES: Final = ("cell", "router", "exchange", "shardctl", "python")
NOT_BASE_UNITS: Final = frozenset(
    {"milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "weeks"}
    | {"kilobytes", "megabytes", "bits", "percent"}
)
ABBREVIATIONS: Final = frozenset(["s", "ms", "us", "ns", "sec", "secs", "min", "mins", "hr", "b", "kb", "mb", "pct"])
TYPES: Final = frozenset(["counter", "gauge", "histogram", "summary"])
LATENCY_BOUND_S: Final = {
    "router_request_seconds": 0.05,
    "cell_request_seconds": 0.5,
    "cell_batch_seconds": 0.05,
    "exchange_commit_seconds": 0.05,
}
"""Where a bucket must end, so that the share of answers within the bound can be read off."""


@cache
def moved_in_tests() -> frozenset[str]:
    """The names that `assert_moved` is called with, anywhere in the tests."""
    names: set[str] = set()
    for path in TESTS.rglob("*.py"):
        text = path.read_text("utf-8")
        if "assert_moved(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "assert_moved":
                arguments = [each.value for each in node.args if isinstance(each, ast.Constant)]
                names |= {each for each in arguments if isinstance(each, str)}
    return frozenset(names)


@pytest.mark.parametrize("name", NAMES)
def test_some_test_moves_it(name: str) -> None:
    assert name in moved_in_tests(), f"nothing is known to move {name}: mend it, delete it, or assert_moved it"


def test_no_test_moves_what_is_not_declared() -> None:
    assert moved_in_tests() <= set(NAMES)


def lint(row: Metric) -> Iterator[str]:
    """What promlint, and our own rules, have against a declaration."""
    words = row.name.split("_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", row.name) or words[0] not in PACKAGES:
        yield "is not <package>_<noun>_<unit> in snake case"
    if not row.help.strip():
        yield "has no help"
    if TYPES & set(words):
        yield "has its type in its name"
    if NOT_BASE_UNITS & set(words):
        yield "is not in a base unit"
    if ABBREVIATIONS & set(words):
        yield "abbreviates its unit"
    if (words[-1] == "total") != (row.kind is Counter):
        yield "counters, and nothing else, end in _total"
    if words[-1] in ("count", "sum", "bucket", "info", "created"):
        yield "ends in what a client library adds"
    for label in row.labels:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", label) or label in ("le", "quantile", "job", "instance", "type"):
            yield f"has the label {label}"
        if label in ("user", "user_id", "email", "address", "order_id", "symbol"):
            yield f"has a label without bound: {label}"
    if row.kind is Histogram and words[-1] == "seconds":
        buckets = row.buckets or Metrics(()).histogram(RUNTIME_METRICS[0].name)._upper_bounds
        if LATENCY_BOUND_S.get(row.name, 1.0) not in buckets:
            yield "has no bucket that ends at its bound"
    if row.buckets is not None and list(row.buckets) != sorted(set(row.buckets)):
        yield "has buckets that do not rise"


@pytest.mark.parametrize("row", DECLARED, ids=NAMES)
def test_promlint_has_nothing_against_it(row: Metric) -> None:
    assert not list(lint(row))


@pytest.mark.parametrize(
    "bad",
    [
        Metric("cell_orders", Counter, "Orders."),
        Metric("cell_orders_total", Gauge, "Orders."),
        Metric("router_tunnels_count", Gauge, "Tunnels."),
        Metric("cell_wait_milliseconds", Histogram, "Wait."),
        Metric("cell_wait_ms", Gauge, "Wait."),
        Metric("cell_orders_gauge", Gauge, "Orders."),
        Metric("cell_waitMax_seconds", Gauge, "Wait."),
        Metric("cell_orders_total", Counter, " "),
        Metric("cell_orders_total", Counter, "Orders.", ("user_id",)),
        Metric("cell_wait_seconds", Histogram, "Wait.", (), (0.3, 0.7)),
    ],
)
def test_the_rules_find_what_they_are_for(bad: Metric) -> None:
    assert list(lint(bad))


def test_no_two_are_one_to_a_reader_of_openmetrics() -> None:
    """There a counter's family is its name without `_total`."""
    families = [name.removesuffix("_total") for name in NAMES]
    assert sorted(families) == sorted(set(families))


@pytest.mark.parametrize("table", [CELL, WORKER_METRICS, RELAY_METRICS, ROUTER, EXCHANGE, CONTROL])
def test_promtool_has_nothing_against_what_is_rendered(table: tuple[Metric, ...]) -> None:
    promtool = outside_tool("promtool", for_what="the naming rules of Prometheus")
    metrics = Metrics(table)
    done = subprocess.run([promtool, "check", "metrics"], input=metrics.render(), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
