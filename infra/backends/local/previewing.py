"""What runs of a stack on this machine, beside what is planned: for the preview of `up`. Reads, and changes nothing.

A running process tells by its digest which launch file it has become; only then do the file's settings count as its.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import psutil

from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.local.commands import PASSED_ON_PREFIXES
from infra.backends.local.folders import StackFolder
from infra.backends.local.launching import RELOAD_COMMAND, launched_as
from infra.backends.local.renewal import runs_otherwise
from infra.backends.local.stand_in import STAND_IN
from infra.backends.local.supervisor import Supervised
from infra.backends.preview import Running

_OWN_PREFIX: Final = "CELL_BROKERAGE_"
"""What the local back end tells its processes for its own purposes is no setting: digest, token."""


def judge_running(
    planned: Iterable[ProcessSpec],
    seen: Mapping[str, Supervised],
    changed: frozenset[str],
    kinds: Mapping[str, ProcessKind],
    folder: StackFolder,
) -> tuple[dict[str, Running], dict[str, str]]:
    """Those that run, and of those that do not, why. A stand-in is nobody's plan, and ends by itself."""
    wanted = {process.name: process for process in planned}
    running, absent = {}, {}
    for name, process in seen.items():
        if name == STAND_IN:
            continue
        if process.pid is None:
            absent[name] = f"does not run: {process.state}" + (f", {process.detail}" if process.detail else "")
            continue
        differs = name in changed or (name in wanted and runs_otherwise(wanted[name], process.pid))
        settings, command = launched_as(name, process.pid, folder)
        # The name of a process that nobody plans any more does not tell its kind.
        running[name] = Running(kinds.get(name, ProcessKind.API), differs, settings, command)
    return running, absent


def given_settings(pid: int) -> dict[str, str] | None:
    """From the process's own environment: settings of ours, whoever set them."""
    try:
        environment = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return None
    return {
        name: value
        for name, value in environment.items()
        if name.startswith((*PASSED_ON_PREFIXES, "SHARDCTL_"))
        and not name.startswith(_OWN_PREFIX)
        and name != RELOAD_COMMAND
    }
