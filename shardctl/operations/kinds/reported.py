"""Long work of one step that reports as it goes: its last report is persisted every few seconds.

So who watches the operation sees how far it is, and a cancellation or the loss of the lease ends the work within them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from infra.backends.backend import Report
from infra.backends.backend import Step as Progress
from infra.runtime.procedures import DatabaseFailure
from shardctl.operations.plan import Step
from shardctl.operations.resources import StackResources

EVERY_S: Final = 5.0
"""A person who watches sees that it goes on; a day of it is no more rows than a cell's archive leaves."""
_Result = TypeVar("_Result")


async def reported(step: Step[StackResources], work: Callable[[Report], Awaitable[_Result]]) -> _Result:
    """What `work` returns. Raises what it raises, CancelAsked, LeaseLost; it has ended then."""
    last: list[Progress] = []

    def report(progress: Progress) -> None:
        last[:] = [progress]

    task = asyncio.ensure_future(work(report))
    try:
        while not (await asyncio.wait((task,), timeout=EVERY_S))[0]:
            told = " ".join(filter(None, (last[0].subject, last[0].detail))) if last else "begun"
            with suppress(DatabaseFailure):  # the next one says more; a lost lease or a cancellation is none
                await step.checkpoint({}, told)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
