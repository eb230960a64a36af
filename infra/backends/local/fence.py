"""Changes of a stack by whoever leads: under the stack's lock, and refused to a former leader.

The stack's record keeps the highest number it met. A leader that was paused between two steps finds a higher one and
changes nothing; one that was paused while it held the lock keeps the next one waiting until it has ended.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from infra.backends.backend import BackendError
from infra.backends.local.backend import LocalBackend
from infra.backends.local.record import save_record

_WAIT_S: Final = 60.0
"""Another command on this stack may be starting servers; longer than that it is for the next attempt."""
_PAUSE_S: Final = 0.1


class Overtaken(Exception):
    """The stack has met a higher number than the caller's."""


@asynccontextmanager
async def fenced(backend: LocalBackend, number: int | None, *, wait_s: float = _WAIT_S) -> AsyncIterator[None]:
    """Hold the stack's lock, as the leader of that number (None: as a person at this machine). Raises Overtaken, and
    BackendError when the lock is not free in time."""
    backend.folder.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with backend.folder.lock.open("w") as file:
        await _take(file.fileno(), wait_s)
        record = backend.record()
        if number is not None and number < record.leader_number:
            raise Overtaken(f"lease {number} is over: the stack has met {record.leader_number}")
        if number is not None and number > record.leader_number:
            save_record(backend.folder.record, replace(record, leader_number=number))
        yield


async def _take(descriptor: int, wait_s: float) -> None:
    """Not by a waiting call: that would keep a thread, and a cancelled step would get the lock after its end."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if loop.time() >= until_s:
                raise BackendError("another command changes this stack: `shardctl status`, then try again") from error
            await asyncio.sleep(_PAUSE_S)
        else:
            return
