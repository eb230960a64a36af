"""Restores of a local stack's cells: withdraw the cell, build its new data beside the old, run its jobs, decide.

Until it is decided nothing is changed: the cell's processes, started again, serve as before.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.backups import Backup, Decided, Restores
from infra.backends.cell_spec import Job, ProcessKind
from infra.backends.local.archive import archive_process_name
from infra.backends.local.backups import Host, LocalBackups
from infra.backends.local.restoring import Restoration, free_port, kept_aside, pending_restore
from infra.runtime.fault_points import FaultPoints

RESTORE_BUILT: Final = "restore.built"
RESTORE_RECOVERED: Final = "restore.recovered"
RESTORE_FENCED: Final = "restore.fenced"
RESTORE_DECIDED: Final = "restore.decided"
REHEARSAL_BUILT: Final = "rehearsal.built"
REHEARSAL_RECOVERED: Final = "rehearsal.recovered"
REHEARSAL_PROVEN: Final = "rehearsal.proven"


class LocalRestores(Restores):
    """Of one stack."""

    def __init__(self, host: Host, backups: LocalBackups, report: Report) -> None:
        self._host = host
        self._backups = backups
        self._report = report
        self._faults = FaultPoints()

    async def withdraw(self, server: str) -> None:
        """Stop what writes to it, let the archive have the end of its log, stop it. Raises BackupsBusy before anything
        is stopped: a backup or a rehearsal of it may take hours."""
        async with self._backups.lock(server):
            pass
        await self._host.stop_processes(await self._names(server, ours=True))
        try:
            await self._backups.mark(server, "withdrawn")
        except BackendError as error:
            self._report(Step(server, Phase.STOP, f"what its archive lacks is lost: {error}"))
        await self._host.stop_processes(await self._names(server, ours=False))

    async def _names(self, server: str, *, ours: bool) -> list[str]:
        cell = server.removesuffix("-postgres")
        others = (server, archive_process_name(server))
        planned = [process for process in await self._host.plan() if process.cell == cell]
        if ours:
            kinds = (ProcessKind.POSTGRES, ProcessKind.ARCHIVE)
            return [process.name for process in planned if process.kind not in kinds]
        return [name for name in others if name in {process.name for process in planned}]

    async def restore(
        self, server: str, chain: Sequence[Backup], moment: datetime | None, *, incarnation: str, jobs: Sequence[Job]
    ) -> datetime | None:
        async with self._backups.lock(server):
            building = self._restoration(server, "restoring")
            try:
                await building.build(chain, moment)
                await self._faults.reach(RESTORE_BUILT)
                async with building.recovered(moment, [building.cluster.roles.owner]) as newest:
                    await self._faults.reach(RESTORE_RECOVERED)
                    for job in jobs:
                        await self._done(job, building)
                await self._faults.reach(RESTORE_FENCED)
                await building.decide(Decided(incarnation, chain[-1].label, moment, newest))
                await self._faults.reach(RESTORE_DECIDED)
            finally:
                await building.remove()
        return newest

    def decided(self, server: str) -> Decided | None:
        """Raises BackendError."""
        return pending_restore(self._host.folder, server)

    async def rehearse(
        self, server: str, chain: Sequence[Backup], moment: datetime | None, *, jobs: Sequence[Job]
    ) -> tuple[datetime | None, tuple[str, ...]]:
        async with self._backups.lock(server):
            building = self._restoration(server, "rehearsal")
            roles = building.cluster.roles
            try:
                await building.build(chain, moment)
                await self._faults.reach(REHEARSAL_BUILT)
                async with building.recovered(moment, [roles.owner, roles.service]) as newest:
                    await self._faults.reach(REHEARSAL_RECOVERED)
                    said = [await self._done(job, building) for job in jobs]
                    await self._faults.reach(REHEARSAL_PROVEN)
            finally:
                await building.remove()
        return newest, tuple(said)

    async def _done(self, job: Job, building: Restoration) -> str:
        """What it said. Raises BackendError if it failed."""
        result = await self._host.run_job_on(job, building.cluster, building.passfile, building.marks)
        if result.exit_code != 0:
            words = result.output.strip()[-2_000:]
            command = f"python -m {job.package} {job.arguments[0]}"
            raise BackendError(f"`{command}` failed on the restored database:\n{words}")
        return result.output

    async def catch_up(self, server: str) -> None:
        await self._backups.mark(server, "rehearsal")

    def kept_aside(self, server: str) -> tuple[tuple[str, int], ...]:
        return tuple((str(path), size) for path, size in kept_aside(self._host.folder, server))

    def _restoration(self, server: str, purpose: str) -> Restoration:
        record = self._host.record()
        return Restoration(
            self._host.folder, self._host.cluster(server), free_port(), record.token, purpose, self._report
        )
