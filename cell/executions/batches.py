"""The batches that a worker has under way: a wanted end lets none begin, and waits for those that have begun.

So a worker hands over at once, and nothing that it had marked as sent stays unsent. What lies in the inbox and in the
queue of instructions is in the database, and is the next worker's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Batches:
    """Counts those of one worker."""

    def __init__(self) -> None:
        self._under_way = 0
        self._closed = False
        self._none = asyncio.Event()
        self._none.set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Around a batch. After `close` it waits, until the task is cancelled."""
        if self._closed:
            await asyncio.Event().wait()
        self._under_way += 1
        self._none.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none.set()

    async def close(self) -> None:
        """From now on none begins; returns when none is under way."""
        self._closed = True
        await self._none.wait()
