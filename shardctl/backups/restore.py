"""Restore a cell to a moment, as a new incarnation that is fenced in its database.

In this order: the cell is stopped (what is acknowledged from now on would be lost), the end of its log is archived,
the backup and the log are checked, a new data directory is built and recovered beside the old one, the release's
migrations run on it, the fence goes up, and only then it takes its place and the cell's processes start. A failure or
Ctrl-C before that leaves the cell as it was, and it is started again; a killed command leaves it stopped: repeat the
command, or `up`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from infra.backends.backend import Backend, Phase, Report, Step, start_until_ready
from infra.backends.backups import Backups, NotCovered
from infra.backends.cell_spec import Job
from shardctl.audit.recording import recorded_act
from shardctl.backups.coverage import Reach, chain, choose, format_time, reaches
from shardctl.backups.servers import open_backups, open_restores, server_of
from shardctl.backups.take import machine_now
from shardctl.errors import Refused
from shardctl.persons import os_user


@dataclass(frozen=True, slots=True)
class RestoredCell:
    """What a restore made of a cell."""

    cell: str
    incarnation: str
    backup: str
    newest_commit_at: datetime | None
    """The last transaction that the books hold."""
    kept_aside: tuple[str, ...]


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
    """Raises Refused, NotCovered, BackupDamaged, BackendError; the cell runs on as it was then."""
    if not await backend.is_running():
        raise Refused(f"the stack {backend.stack} is not running: `shardctl up` first")
    server, backups, restores = server_of(backend, cell), open_backups(backend, report), open_restores(backend, report)
    await check_moment(backend, cell, moment, label)
    arguments = {"to": "latest" if moment is None else format_time(moment), "from": label}
    async with recorded_act(backend, "backup.restore", cell, reason=reason, arguments=arguments), backend.lock():
        await restores.withdraw(server)
        try:
            chosen = choose(await _reaches(backups, server), moment, label)
            newest = await restores.restore(
                server,
                chain(backups.backups(server), chosen.backup.label),
                moment,
                incarnation=str(new_id),
                jobs=_jobs(cell, str(new_id), chosen.backup.label, moment, reason),
            )
        except BaseException:
            await restores.resume(server)
            raise
        await backend.create(backend.spec())
        await start_until_ready(backend, lambda process: process.cell == cell)
        report(Step(cell, Phase.READY, "fenced"))
    kept = tuple(path for path, _ in restores.kept_aside(server))
    return RestoredCell(cell, str(new_id), chosen.backup.label, newest, kept)


async def _reaches(backups: Backups, server: str) -> Sequence[Reach]:
    return reaches(backups.backups(server), await backups.archive_states(server))


def _jobs(cell: str, incarnation: str, label: str, moment: datetime | None, reason: str) -> tuple[Job, ...]:
    """The backup may be of an older release: its schema first, then the fence, which needs it."""
    fence = ["fence", "--incarnation", incarnation, "--backup", label, "--actor", os_user(), "--reason", reason]
    if moment is not None:
        fence += ["--restored-to", format_time(moment)]
    return (Job("cell", ("migrate",), cell), Job("cell", tuple(fence), cell))
