"""The README's table of metrics is the code's."""

from pathlib import Path

import exchange
from exchange.metrics import METRICS
from infra.runtime.telemetry import metrics_markdown


def test_the_readme_lists_every_metric() -> None:
    readme = Path(exchange.__file__).with_name("README.md").read_text()
    assert metrics_markdown(METRICS) in readme
