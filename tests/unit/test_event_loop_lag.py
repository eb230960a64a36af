"""The lag of an event loop is measured while it is served, and is what a blocked loop makes others wait."""

import time
from pathlib import Path

import pytest

from infra.runtime import event_loop_lag
from infra.runtime.event_loop_lag import measured_lag
from infra.runtime.telemetry import EVENT_LOOP_LAG, RUNTIME_METRICS, Metrics, metrics_markdown
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved

pytestmark = pytest.mark.anyio


async def test_a_blocked_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop_lag, "INTERVAL_S", 0.01)
    metrics = Metrics(())

    def sample(what: str) -> float:
        return metrics.registry.get_sample_value(f"{EVENT_LOOP_LAG}_{what}") or 0.0

    async with measured_lag(metrics.histogram(EVENT_LOOP_LAG)):
        time.sleep(0.2)  # noqa: ASYNC251 - the fault itself

        async def is_measured() -> bool:
            return sample("count") > 0

        await eventually(is_measured)
        assert sample("sum") >= 0.15
        assert_moved(metrics.render(), "python_event_loop_lag_seconds")


def test_every_process_has_the_client_librarys_collectors() -> None:
    shown = Metrics(()).render().decode()
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "python_info",
                 "python_gc_collections_total"):  # fmt: skip
        assert f"\n{name}" in shown, name


def test_the_readme_lists_what_every_process_measures() -> None:
    readme = (Path(__file__).parents[2] / "infra" / "README.md").read_text("utf-8")
    assert metrics_markdown(RUNTIME_METRICS) in readme
