"""The lock of a stack, for whoever leads: held during a change, and refused to a former leader.

The stack's record keeps the highest number it met. A leader that was paused between two steps finds a higher one and
changes nothing; one that was paused while it held the lock keeps the next one waiting until it goes on and is done.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from infra.backends.backend import BackendError, Overtaken
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import StackRecord, load_record, save_record

_WAIT_S: Final = 60.0
"""Another command on this stack may be starting servers; longer than that it is for the next attempt."""
_PAUSE_S: Final = 0.1
"""Between two tries: short beside a step, and no load."""


@asynccontextmanager
async def fenced_lock(folder: StackFolder, lease: int | None, *, wait_s: float = _WAIT_S) -> AsyncIterator[None]:
    """Hold the stack's lock as the leader of that number (None: as a person at this machine). Raises Overtaken, and
    BackendError when the lock is not free in time or there is no stack."""
    folder.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder.lock.open("w") as file:
        refusal = BackendError("another command changes this stack: `shardctl status`, then try again")
        await take_lock(file.fileno(), wait_s, refusal)
        record = load_record(folder.record)
        if record is None:
            raise BackendError(f"there is no stack in {folder.root}")
        _refuse_former(record, lease)
        if lease is not None and lease > record.leader_number:
            save_record(folder.record, replace(record, leader_number=lease))
        yield


def refuse_overtaken(folder: StackFolder, lease: int | None) -> None:
    """For a change of files that no other command makes meanwhile and that needs no lock. Raises Overtaken,
    BackendError."""
    record = load_record(folder.record)
    if record is not None:
        _refuse_former(record, lease)


def _refuse_former(record: StackRecord, lease: int | None) -> None:
    if lease is not None and lease < record.leader_number:
        raise Overtaken(f"lease {lease} is over: the stack has met {record.leader_number}")


async def take_lock(descriptor: int, wait_s: float, refusal: BackendError) -> None:
    """Raises `refusal` if it is not free in time. Not by a waiting call: that would keep a thread, and a cancelled step
    would get the lock after its end."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if loop.time() >= until_s:
                raise refusal from error
            await asyncio.sleep(_PAUSE_S)
        else:
            return
