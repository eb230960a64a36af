"""One command at a time works on the backups of a server, and what a killed one left is removed first.

Left are folders whose names begin with a dot, the server that was being recovered, and tools that went on without their
command. Tools and that server carry a mark in their environment which nobody else has, so no other process is met. The
lock ends with the process that holds it: whoever has it knows that nobody uses what is left.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from infra.backends.backups import BackupsBusy
from infra.backends.local.backup_files import UNFINISHED, make_private
from infra.backends.local.fence import take_lock
from infra.backends.local.folders import StackFolder
from infra.backends.local.orphans import end_orphans, find_marked

_MARK: Final = "CELL_BROKERAGE_BACKUPS_OF"
WAIT_S: Final = 10.0
"""For a lock that is taken: removing what is left takes seconds, and is done by the control service too. Whoever copies
keeps it for longer."""
_PURPOSES: Final = ("restoring", "rehearsal")
"""Of a server that is built beside the one that runs: two that do not meet."""


def marks_of(folder: StackFolder, server: str) -> dict[str, str]:
    """For the environment of every process that works on the backups of this server."""
    return {_MARK: str(folder.backups(server))}


def building_folder(folder: StackFolder, server: str, purpose: str) -> Path:
    """Where the data of a server lies that is being restored, or rehearsed."""
    return folder.data(f".{server}.{purpose}")


def building_passfile(folder: StackFolder, server: str, purpose: str) -> Path:
    return folder.secrets / f"pgpass.{server}.{purpose}"


@asynccontextmanager
async def backup_lock(folder: StackFolder, server: str, *, wait_s: float) -> AsyncIterator[None]:
    """Raises BackupsBusy if it is not free in time."""
    backups = folder.backups(server)
    make_private(backups, folder.root)
    with (backups / "lock").open("w") as file:
        busy = BackupsBusy(f"another command works on the backups of {server}: wait for it")
        await take_lock(file.fileno(), wait_s, busy)
        await _remove_left(folder, server)
        yield


async def sweep_left(folder: StackFolder, server: str) -> bool:
    """Remove what a killed command left, if there is anything and nobody works: was it so?"""
    if not _left(folder, server):
        return False
    try:
        async with backup_lock(folder, server, wait_s=0.0):
            return True
    except BackupsBusy:
        return False


def _left(folder: StackFolder, server: str) -> list[Path]:
    unfinished = folder.backups(server).glob(f"{UNFINISHED}*")
    building = [building_folder(folder, server, purpose) for purpose in _PURPOSES]
    return [*unfinished, *(path for path in building if path.exists())]


async def _remove_left(folder: StackFolder, server: str) -> None:
    """Processes first: they write into what is removed. On threads: the loop may have a lease to renew."""
    [(variable, value)] = marks_of(folder, server).items()
    await asyncio.to_thread(end_orphans, await asyncio.to_thread(find_marked, variable, value))
    for path in _left(folder, server):
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
    for purpose in _PURPOSES:
        building_passfile(folder, server, purpose).unlink(missing_ok=True)
