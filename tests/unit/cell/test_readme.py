"""The README's list of metrics is the table in the code."""

from pathlib import Path

import cell
from cell.executions.metrics import WORKER_METRICS
from cell.metrics import TABLE
from infra.runtime.telemetry import metrics_markdown


def test_the_readme_lists_the_metrics() -> None:
    readme = Path(cell.__file__).with_name("README.md").read_text("utf-8")
    assert metrics_markdown(TABLE) in readme
    assert metrics_markdown(WORKER_METRICS) in readme
