"""Find and end what a killed supervisord left behind.

Two kinds of evidence, because pids change with every automatic restart: each process carries the stack's random token
in its environment, and `run/processes.json` notes pid and start time of what was seen last. A pid alone is never
evidence, and the start time is checked again by psutil just before a signal is sent, so a process that got an old pid
is never hit.
"""

import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from infra.backends.local.postgres import is_postmaster
from infra.backends.local.supervisor import TOKEN_VARIABLE
from infra.backends.replaced_file import replace_file

_TERM_WAIT_S = 12.0
"""For an orderly end: the longest drain is a router's, ten seconds."""
_KILL_WAIT_S = 5.0
"""For the kernel to have ended what was killed."""
_START_TOLERANCE_S = 0.02
"""Two readings of one start time differ by a clock tick, 0.01 s; a pid is not given out again that soon."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A process as it was noted: its pid, and when the kernel started it."""

    name: str
    pid: int
    started_at: float


def note_processes(path: Path, pids: dict[str, int]) -> None:
    """Remember which process a pid was."""
    seen = []
    for name, pid in pids.items():
        try:
            seen.append(Seen(name, pid, psutil.Process(pid).create_time()))
        except psutil.Error:
            continue
    replace_file(path, msgspec.json.encode(seen), mode=0o600)


def read_noted(path: Path) -> tuple[Seen, ...]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Seen, ...])
    except (FileNotFoundError, msgspec.MsgspecError):
        return ()


def find_orphans(token: str, noted: Iterable[Seen], data_folders: Iterable[Path]) -> list[psutil.Process]:
    """Processes of the stack that are alive; call it only when no supervisord of the stack answers."""
    candidates = [
        *(process for process in psutil.process_iter() if _carries(process, token)),
        *(_same(seen) for seen in noted),
        *(_postmaster(data) for data in data_folders),
    ]
    found = {process.pid: process for process in candidates if process is not None}
    return [process for process in found.values() if _is_alive(process)]


def find_marked(variable: str, value: str) -> list[psutil.Process]:
    """Processes with that variable in their environment, which nobody but us gives them."""
    return [each for each in psutil.process_iter() if _carries(each, value, variable) and _is_alive(each)]


def _is_alive(process: psutil.Process) -> bool:
    """A dead process that nobody has collected yet does nothing any more."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _carries(process: psutil.Process, value: str, variable: str = TOKEN_VARIABLE) -> bool:
    try:
        return process.environ().get(variable) == value
    except (psutil.Error, OSError):
        return False


def _same(seen: Seen) -> psutil.Process | None:
    try:
        process = psutil.Process(seen.pid)
        return process if abs(process.create_time() - seen.started_at) < _START_TOLERANCE_S else None
    except psutil.Error:
        return None


def _postmaster(data: Path) -> psutil.Process | None:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid, started_at = int(lines[0]), int(lines[2])
        return psutil.Process(pid) if is_postmaster(pid, started_at, data) else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def end_orphans(orphans: list[psutil.Process]) -> None:
    """Ask, wait, then kill. PostgreSQL is asked for a fast shutdown. Returns when none is left."""
    for process in orphans:
        # SIGTERM would make PostgreSQL wait for its sessions to end.
        _signal(process, signal.SIGINT if _is_postgres(process) else signal.SIGTERM)
    alive = _wait(orphans, _TERM_WAIT_S)
    for process in alive:
        _signal(process, signal.SIGKILL)
    _wait(alive, _KILL_WAIT_S)


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return process.name() == "postgres"
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def wait_gone(pid: int, timeout_s: float) -> bool:
    """True when the process has ended."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    return _wait([process], timeout_s) == []


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that are still alive after the limit."""
    deadline = time.monotonic() + timeout_s
    while (alive := [process for process in processes if _is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive
