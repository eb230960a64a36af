"""Restore a cell to a moment, as a new incarnation that is fenced in its database.

In this order: the cell is stopped (what is acknowledged from now on would be lost), the end of its log is archived,
the backup and the log are checked, a new data directory is built and recovered beside the old one, the release's
migrations run on it, the fence goes up, and only then it takes its place and the cell's processes start. Last, while
the fence is up, the new incarnation's log is archived and a backup of it is taken, so that no write of a customer is
ever in no archive.
A failure or Ctrl-C before the place is taken leaves the cell as it was: it is started again, and the command ends when
it serves; a killed command leaves it stopped: repeat the command, or `up`. Repeated after the restore was decided, it
is finished and not made again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from infra.backends.backend import Backend, BackendError, Phase, Report, Step, start_until_ready
from infra.backends.backups import Backups, BackupsBusy, Decided, NotCovered, Restores
from infra.backends.cell_spec import Job
from infra.runtime.fault_points import FaultPoints
from shardctl.audit.recording import recorded_act
from shardctl.backups.coverage import Reach, chain, choose, format_time, reaches, spell_moment
from shardctl.backups.naming import machine_now, new_label
from shardctl.backups.servers import open_backups, open_restores, server_of
from shardctl.errors import Refused
from shardctl.persons import os_user

WITHDRAWN: Final = "restore.withdrawn"
PLACED: Final = "restore.placed"
STARTED: Final = "restore.started"
_BUSY_PAUSE_S: Final = 1.0
_BUSY_TRIES_MAX: Final = 60
"""A minute: the control service may have begun a backup of the restored cell a moment before."""


@dataclass(frozen=True, slots=True)
class RestoredCell:
    """What a restore made of a cell."""

    cell: str
    incarnation: str
    backup: str
    newest_commit_at: datetime | None
    """The last transaction that the books hold."""
    kept_aside: tuple[str, ...]
    covered_from: datetime | None
    """From here on the new incarnation can be put back to any moment; None: not yet, for `trouble`."""
    trouble: str | None


async def check_moment(backend: Backend, cell: str, moment: datetime | None, label: str | None) -> None:
    """Before anything is stopped: raises NotCovered for what certainly cannot be restored, Refused for the future."""
    server, backups = server_of(backend, cell), open_backups(backend)
    if moment is not None and moment > machine_now():
        raise Refused(f"{format_time(moment)} lies in the future; it is {format_time(machine_now())}")
    found = await _reaches(backups, server)
    try:
        choose(found, moment, label)
    except NotCovered:
        # The log goes on until the cell is stopped: then it is known whether the moment is in it.
        if not any(reach.is_open and reach.trouble is None and _may_reach(reach, moment) for reach in found):
            raise


def _may_reach(reach: Reach, moment: datetime | None) -> bool:
    return moment is not None and reach.missing is None and moment >= reach.earliest


async def restore_cell(
    backend: Backend,
    cell: str,
    moment: datetime | None,
    label: str | None,
    report: Report,
    *,
    new_id: UUID,
    reason: str,
) -> RestoredCell:
    """Raises NotReachable, Refused, NotCovered, BackupDamaged, BackendError; the cell runs on as it was then."""
    if not await backend.is_running():
        raise Refused(f"the stack {backend.stack} is not running: `shardctl up` first")
    server, backups, restores = server_of(backend, cell), open_backups(backend, report), open_restores(backend, report)
    await check_moment(backend, cell, moment, label)
    faults = FaultPoints()
    arguments = {"to": spell_moment(moment), "from": label}
    async with recorded_act(backend, "backup.restore", cell, reason=reason, arguments=arguments):
        async with backend.lock():
            decided = restores.decided(server)
            if decided is not None and (decided.moment, label or decided.backup) != (moment, decided.backup):
                raise Refused(_other_restore(cell, decided))
            if decided is None:
                decided = await _build(backend, cell, moment, label, restores, backups, new_id, reason, faults, report)
            await backend.create(backend.spec())
            await faults.reach(PLACED)
            await start_until_ready(backend, lambda process: process.cell == cell)
            report(Step(cell, Phase.READY, "fenced"))
        await faults.reach(STARTED)
        covered_from, trouble = await _archive_again(backups, server)
    kept = tuple(path for path, _ in restores.kept_aside(server))
    made = (decided.incarnation, decided.backup, decided.newest_commit_at)
    return RestoredCell(cell, *made, kept, covered_from, trouble)


def _other_restore(cell: str, decided: Decided) -> str:
    to = spell_moment(decided.moment)
    return f"{cell}: a restore from {decided.backup} to {to} is decided: `shardctl up` finishes it; then again"


async def _build(
    backend: Backend,
    cell: str,
    moment: datetime | None,
    label: str | None,
    restores: Restores,
    backups: Backups,
    new_id: UUID,
    reason: str,
    faults: FaultPoints,
    report: Report,
) -> Decided:
    server = server_of(backend, cell)
    try:
        await restores.withdraw(server)
        await faults.reach(WITHDRAWN)
        chosen = choose(await _reaches(backups, server), moment, label).backup.label
        newest = await restores.restore(
            server,
            chain(backups.backups(server), chosen),
            moment,
            incarnation=str(new_id),
            jobs=_jobs(cell, str(new_id), chosen, moment, reason),
        )
    except BaseException:
        await _run_on(backend, cell, report)
        raise
    return Decided(str(new_id), chosen, moment, newest)


async def _run_on(backend: Backend, cell: str, report: Report) -> None:
    """As it was. Raises nothing: why there was no restore is what the operator must read."""
    try:
        await start_until_ready(backend, lambda process: process.cell == cell)
    except BackendError as error:
        report(Step(cell, Phase.READY, f"does not serve again: {error}"))


async def _archive_again(backups: Backups, server: str) -> tuple[datetime | None, str | None]:
    """From when the new incarnation is covered, or why it is not: the cell is restored in either case."""
    label = new_label(server)
    for _ in range(_BUSY_TRIES_MAX):
        try:
            taken = await backups.take(server, label=label, incremental=False, reason="restored", now=machine_now)
        except BackupsBusy:
            await asyncio.sleep(_BUSY_PAUSE_S)
        except BackendError as error:
            return None, str(error)
        else:
            return taken.ended_at, None
    return None, "another command works on its backups"


async def _reaches(backups: Backups, server: str) -> Sequence[Reach]:
    return reaches(backups.backups(server), await backups.archive_states(server))


def _jobs(cell: str, incarnation: str, label: str, moment: datetime | None, reason: str) -> tuple[Job, ...]:
    """The backup may be of an older release: its schema first, then the fence, which needs it."""
    fence = ["fence", "--incarnation", incarnation, "--backup", label, "--actor", os_user(), "--reason", reason]
    if moment is not None:
        fence += ["--restored-to", format_time(moment)]
    return (Job("cell", ("migrate",), cell), Job("cell", tuple(fence), cell))
