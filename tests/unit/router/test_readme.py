"""The README's list of metrics is the table in the code."""

from pathlib import Path

from infra.runtime.telemetry import metrics_markdown
from router.metrics import TABLE


def test_the_readme_lists_the_metrics() -> None:
    readme = (Path(__file__).parents[3] / "router" / "README.md").read_text()
    assert metrics_markdown(TABLE) in readme
