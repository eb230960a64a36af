"""Do one step again and again: what every loop of the worker that calls its database is made of.

A step that the database fails is counted, written to the log, and done again after a pause; rows say what is left to
do, so nothing is lost by that. Any other error is our own mistake and ends the loop, and with it the worker's work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from infra.runtime.procedures import DatabaseFailure
from infra.runtime.telemetry import Metrics

_log = logging.getLogger(__name__)


class Failures:
    """Database calls of one cell's worker that failed and are repeated."""

    def __init__(self, metrics: Metrics, cell: str) -> None:
        self._counter = metrics.counter("cell_worker_failures_total")
        self._cell = cell

    def note(self, task: str, error: DatabaseFailure) -> None:
        """Count it, and say it in the log."""
        self._counter.labels(self._cell, task).inc()
        _log.warning("database call failed, repeating", extra={"task": task, "detail": str(error)})


async def repeat(
    task: str,
    step: Callable[[], Awaitable[object]],
    failures: Failures,
    *,
    every_s: float,
    retry_s: float | None = None,
    first_after_s: float = 0.0,
) -> None:
    """`step`, then a pause of `every_s`, until cancelled; `retry_s` instead (if given) when the database failed it."""
    await asyncio.sleep(first_after_s)
    while True:
        pause_s = every_s
        try:
            await step()
        except DatabaseFailure as error:
            failures.note(task, error)
            pause_s = every_s if retry_s is None else retry_s
        await asyncio.sleep(pause_s)
