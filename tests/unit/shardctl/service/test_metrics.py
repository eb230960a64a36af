"""The README's list of metrics is the table."""

from pathlib import Path

import shardctl
from infra.runtime.telemetry import metrics_markdown
from shardctl.service.metrics import METRICS


def test_the_readme_lists_every_metric() -> None:
    assert metrics_markdown(METRICS) in (Path(shardctl.__file__).parent / "README.md").read_text()
