"""Rehearse a restore: the newest backup and the log, built beside the running cell, proven by every check, dropped.

The cell notices nothing but the disk and the processor that it shares. How long it took until the books were proven is
the recovery time; a real restore stops and starts the cell's processes besides, which takes seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from infra.backends.backend import Backend, BackendError, Report
from infra.backends.cell_spec import Job
from shardctl.audit.recording import recorded_act
from shardctl.backups.coverage import chain, choose, format_time, reaches
from shardctl.backups.servers import open_backups, open_restores, server_of

_JOBS: Final = ("migrate", "prove")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    cell: str
    backup: str
    newest_commit_at: datetime | None
    seconds: float
    """From the first look at the backup until the books of the copy were proven and it was dropped."""
    checks: dict[str, int]
    """Every check that ran, and the rows that it found."""


async def rehearse_restore(
    backend: Backend, cell: str, moment: datetime | None, report: Report, *, monotonic: Callable[[], float]
) -> Rehearsed:
    """Raises NotCovered, BackupDamaged, BackendError; nothing of the copy is left."""
    server, backups, restores = server_of(backend, cell), open_backups(backend, report), open_restores(backend, report)
    arguments = {"to": "latest" if moment is None else format_time(moment)}
    async with recorded_act(backend, "backup.rehearse", cell, arguments=arguments, unrecorded=True):
        await restores.catch_up(server)
        began_s = monotonic()
        known = backups.backups(server)
        label = choose(reaches(known, await backups.archive_states(server)), moment, None).backup.label
        jobs = tuple(Job("cell", (name,), cell) for name in _JOBS)
        newest, said = await restores.rehearse(server, chain(known, label), moment, jobs=jobs)
    return Rehearsed(cell, label, newest, monotonic() - began_s, proven(said[-1]))


def proven(output: str) -> dict[str, int]:
    """What `python -m cell prove` said in its last line. Pure. Raises BackendError."""
    try:
        found: dict[str, Any] = msgspec.json.decode(output.strip().splitlines()[-1])
        return {str(check["name"]): int(check["violations"]) for check in found["checks"]}
    except (IndexError, KeyError, msgspec.DecodeError) as error:
        raise BackendError(f"the checks of the restored copy said nothing: {output[-500:]}") from error
