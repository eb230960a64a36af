"""Where tests keep what servers write: in memory, if there is room.

A cloned database is a thousand small files, and making them on a disk took most of a test's time (0.9 s of it on a busy
machine, 0.05 s in memory). Nothing is lost: tests kill processes, never the machine, and a process's writes outlive it.
The stacks of drills stay on the disk: they write more, and wait for it as a real one does.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_FREE_MIN_BYTES: Final = 4 << 30
"""Two workers' servers and a stack take less than half of it; a container may have 64 MB."""
_LEFT_BEHIND_S: Final = 86_400.0
"""No run lasts a day."""


def memory_folder() -> Path | None:
    """A folder in memory with room enough; None, which means the usual folder for temporary files, if there is none.
    What runs that were killed left behind there goes after a day."""
    if not os.access(_MEMORY, os.W_OK):
        return None
    for left in _MEMORY.glob("cell-brokerage-*"):
        with suppress(FileNotFoundError):  # another run ends just now
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND_S:
                shutil.rmtree(left, ignore_errors=True)
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _FREE_MIN_BYTES else None
