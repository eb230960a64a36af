"""Launch files: what each process of ours shall be at its next start, and what a running one has become.

A file is replaced when its process is started or renewed, not before. So a process that comes back by itself while
others are being renewed comes back as it was. What runs is judged by the process itself (its environment carries the
digest of its launch file), so a command that was killed at any moment leaves nothing to guess.
"""

import hashlib
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.local import launch
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import load_json
from infra.backends.replaced_file import replace_file

_LAUNCHER = (sys.executable, "-S", launch.__file__)
"""Without site packages: the script needs none, and it costs half the time."""
RELOAD_COMMAND: Final = "ROUTER_RELOAD_COMMAND"
"""Added to a router's settings in its launch file: it is not planned, and no digest covers it."""


def is_launched(process: ProcessSpec) -> bool:
    """Ours are; servers that others wrote have no settings but their command."""
    return process.operator_port is not None


def as_supervised(process: ProcessSpec, folder: StackFolder) -> ProcessSpec:
    """What supervisord is told: it never sees a setting."""
    if not is_launched(process):
        return process
    return replace(process, command=launcher_command(process.name, folder), environment={})


def launcher_command(name: str, folder: StackFolder) -> tuple[str, ...]:
    return (*_LAUNCHER, str(folder.launch(name)))


def digest_of(process: ProcessSpec) -> str:
    """The same for the same command and settings, wherever the process runs."""
    told = json.dumps([process.command, dict(process.environment)], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def write_launch(process: ProcessSpec, folder: StackFolder, *, for_process: str = "") -> None:
    """From now on a start of the process is this one. `for_process`: whom a stand-in stands in for."""
    settings = dict(process.environment)
    if process.kind is ProcessKind.ROUTER:
        settings[RELOAD_COMMAND] = shlex.join(launcher_command(process.name, folder))
    document = {
        "command": list(process.command),
        "settings": settings,
        "digest": digest_of(process),
        "for_process": for_process,
    }
    replace_file(folder.launch(process.name), json.dumps(document, indent=1).encode(), mode=0o600)


def stands_in_for(path: Path) -> str:
    """The name that a stand-in's launch file has; empty if there is none."""
    document = load_json(path)
    return str(document.get("for_process", "")) if isinstance(document, dict) else ""


def launched_digest(pid: int) -> str | None:
    """Which launch file a running process has become; None if it is gone, or was started without one."""
    try:
        return psutil.Process(pid).environ().get(launch.DIGEST)
    except (psutil.Error, OSError):
        return None


def launched_as(name: str, pid: int, folder: StackFolder) -> tuple[dict[str, str] | None, tuple[str, ...]]:
    """Settings and command that a running process was started with; None if its launch file is another by now."""
    document = load_json(folder.launch(name))
    if not isinstance(document, dict) or document.get("digest") != launched_digest(pid):
        return None, ()
    settings = {key: value for key, value in document["settings"].items() if key != RELOAD_COMMAND}
    return settings, tuple(document["command"])
