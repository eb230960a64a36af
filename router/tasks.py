"""Tasks that somebody holds on to until they end: asyncio itself keeps only weak references."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from infra.runtime.cancelling import cancel_all


class TaskRegistry:
    """Whoever makes one decides what happens to it at the end: `finish`, or nothing."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Whoever writes `work` answers for its exceptions: nobody waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, within_s: float) -> None:
        """Let them end; what has not by then is cancelled."""
        tasks = [*self._tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, within_s))
            await cancel_all(tasks)
