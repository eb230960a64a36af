"""Read the log of one process: its last lines, then the lines that are added, across rotation."""

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from infra.backends.backend import BackendError
from infra.backends.local.folders import StackFolder

_PAUSE_S = 0.2
"""Between looks at a log's end: a reader does not notice it, and it costs no measurable processor time."""


def known_logs(folder: StackFolder) -> list[tuple[str, int]]:
    """Name and size of every log."""
    return [(path.stem, path.stat().st_size) for path in sorted(folder.logs.glob("*.log"))]


def _log_path(folder: StackFolder, name: str) -> Path:
    path = folder.log(name)
    if path.parent != folder.logs or not path.exists():
        names = ", ".join(log for log, _ in known_logs(folder)) or "none yet"
        raise BackendError(f"no log of a process {name!r}; there are: {names}")
    return path


def last_lines(folder: StackFolder, name: str, count: int) -> list[str]:
    """At most `count`, oldest first. Raises BackendError for an unknown log."""
    with _log_path(folder, name).open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=count)]


def follow_log(folder: StackFolder, name: str) -> Iterator[str]:
    """Lines as they are added; never ends. A rotated log (the name is another inode) is opened again. Raises
    BackendError."""
    path = _log_path(folder, name)
    file = path.open(encoding="utf-8", errors="replace")
    file.seek(0, 2)
    try:
        while True:
            line = file.readline()
            if line:
                yield line.rstrip("\n")
                continue
            time.sleep(_PAUSE_S)
            if path.exists() and path.stat().st_ino != _inode(file.fileno()):
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
    finally:
        file.close()


def _inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino
