"""The leader's first duty: take up every operation that is to be worked on, a bounded number at once.

A run that stops before its end (the database is away, a cell does not answer, a fact cannot be read) is begun again
after a pause, as often as it takes: nothing was decided. An operation of a kind that this release does not know is left
alone.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final

from infra.runtime.procedures import DatabaseFailure
from infra.runtime.telemetry import Metrics
from shardctl.operations.errors import LeaseLost
from shardctl.operations.execute import Executor, UnknownKind
from shardctl.operations.queries import Operations
from shardctl.operations.resources import StackResources

_log = logging.getLogger(__name__)
_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0)
"""Before a run is begun again; the last one is repeated."""


class Executing:
    def __init__(
        self,
        operations: Operations,
        make_executor: Callable[[int], Executor[StackResources]],
        metrics: Metrics,
        *,
        at_once: int,
        poll_s: float,
    ) -> None:
        self._operations = operations
        self._make_executor = make_executor
        self._metrics = metrics
        self._at_once = at_once
        self._poll_s = poll_s
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something new to do."""
        self._wake.set()

    async def __call__(self, lease: int) -> None:
        """Raises LeaseLost."""
        executor = self._make_executor(lease)
        running: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                self._wake.clear()
                for number in await self._wanted():
                    if number not in running and len(running) < self._at_once:
                        running[number] = asyncio.create_task(self._bring_to_its_end(executor, number))
                self._metrics.gauge("shardctl_operations_active").set(len(running))
                await self._next(running)
                for number in [number for number, task in running.items() if task.done()]:
                    # A lost lease is raised here.
                    running.pop(number).result()
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)
            self._metrics.gauge("shardctl_operations_active").set(0)

    async def _wanted(self) -> list[int]:
        try:
            return await self._operations.to_work_on()
        except DatabaseFailure as error:
            _log.warning("cannot read what is to be done", exc_info=error)
            return []

    async def _next(self, running: dict[int, asyncio.Task[None]]) -> None:
        """Until something ended, somebody asked for something, or it is time to look."""
        woken = asyncio.create_task(self._wake.wait())
        try:
            waited_for = {woken, *running.values()}
            await asyncio.wait(waited_for, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _bring_to_its_end(self, executor: Executor[StackResources], number: int) -> None:
        """Raises LeaseLost, and UnknownKind never: such a task stays, so that nobody asks again under this lease."""
        for attempt in itertools.count():
            try:
                await self._run(executor, number)
            except UnknownKind as error:
                _log.error("left alone: another release's", exc_info=error, extra={"operation": number})
                # For ever: the task's place keeps `_wanted` from bringing it up at every look.
                await asyncio.Event().wait()
            except LeaseLost:
                raise
            except Exception as error:
                _log.warning("stopped, begun again", exc_info=error, extra={"operation": number, "attempt": attempt})
                self._metrics.counter("shardctl_operation_failures_total").inc()
                await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            else:
                return

    async def _run(self, executor: Executor[StackResources], number: int) -> None:
        state = await executor.run(number)
        operation = await self._operations.read(number)
        self._metrics.counter("shardctl_operations_ended_total").labels(operation.kind, state).inc()
        _log.info("ended", extra={"operation": number, "kind": operation.kind, "state": state})
