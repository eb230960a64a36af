"""Read the log of one process: its last lines, and what is added, across rotation."""

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from infra.backends.local.folders import StackFolder
from shardctl.errors import Refused

_PAUSE_S = 0.2


def known_logs(folder: StackFolder) -> list[tuple[str, int]]:
    """Name and size of every log."""
    return [(path.stem, path.stat().st_size) for path in sorted(folder.logs.glob("*.log"))]


def _log_path(folder: StackFolder, name: str) -> Path:
    path = folder.log(name)
    if path.parent != folder.logs or not path.exists():
        names = ", ".join(log for log, _ in known_logs(folder)) or "none yet"
        raise Refused(f"no log of a process {name!r}; there are: {names}")
    return path


def last_lines(folder: StackFolder, name: str, count: int) -> list[str]:
    with _log_path(folder, name).open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=count)]


def follow_log(folder: StackFolder, name: str) -> Iterator[str]:
    """Lines as they are added, for ever. A log that was rotated is opened again."""
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
            if path.exists() and path.stat().st_ino != file_identity(file.fileno()):
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
    finally:
        file.close()


def file_identity(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino
