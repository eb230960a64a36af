"""End tasks for good, also those that lose a cancellation.

A cancellation can be lost: `asyncio.wait_for` of Python 3.11, which libraries use, answers one that comes in the same
moment as its result with that result, and the loop around it goes on for ever. So a task is cancelled until it ends.
Nothing is raised for how the tasks ended, and nothing is waited for beyond `PATIENCE_S`.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

PATIENCE_S: Final = 5.0
"""A task that has not ended by then ends with the process."""
AGAIN_S: Final = 0.1
"""Between two cancellations of the same task: its clean-up may take that long before it is cancelled again."""


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel, again and again, until all have ended or `PATIENCE_S` is over. What they raise is dropped."""
    left = {task for task in tasks if not task.done()}
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while left and asyncio.get_running_loop().time() < deadline:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
