"""The worker's loops: what the database fails is counted and done again, any other error ends the loop."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from cell.executions.metrics import WORKER_METRICS
from cell.executions.repeating import Failures, repeat
from infra.runtime.procedures import ConnectionsTaken, DatabaseAway, DatabaseBroke
from infra.runtime.telemetry import Metrics

pytestmark = pytest.mark.anyio


def stepping(*results: Exception | None) -> tuple[Callable[[], asyncio.Future[None]], list[Exception | None]]:
    """A step that ends in each of these ways, and those that it has ended in."""
    ends: Iterator[Exception | None] = iter(results)
    done: list[Exception | None] = []

    def step() -> asyncio.Future[None]:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        result = next(ends)
        done.append(result)
        if result is None:
            ended.set_result(None)
        else:
            ended.set_exception(result)
        return ended

    return step, done


async def test_what_the_database_fails_is_counted_and_done_again() -> None:
    metrics = Metrics(WORKER_METRICS)
    passing = [DatabaseAway("away"), None, ConnectionsTaken("taken"), DatabaseBroke("22003", "out of range"), None]
    step, done = stepping(*passing, RuntimeError("our own mistake"))
    with pytest.raises(RuntimeError, match="our own mistake"):
        await repeat("early", step, Failures(metrics, "cell-1"), every_s=0.0)
    assert len(done) == len(passing) + 1
    counted = metrics.counter("cell_worker_failures_total").labels("cell-1", "early")
    assert counted._value.get() == 3


async def test_after_a_failure_it_waits_for_the_other_pause() -> None:
    step, done = stepping(DatabaseAway("away"), None)
    failures = Failures(Metrics(WORKER_METRICS), "cell-1")
    looping = asyncio.create_task(repeat("stops", step, failures, every_s=0.0, retry_s=60.0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(done) == 1
    looping.cancel()
    await asyncio.wait({looping})
