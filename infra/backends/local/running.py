"""The processes of one stack, through its supervisord: start, stop, look, and end what a killed supervisord left.

Each call may be repeated. A process that runs goes on as it is: whatever was planned anew is taken over at its next
start, or when it is renewed (`renewal.py`). Raises SupervisorAway where a supervisord is needed and none answers.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra.backends.addresses import REDIS
from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.cell_spec import ProcessKind, ProcessSpec, ProcessStatus
from infra.backends.local import postgres, prometheus
from infra.backends.local.folders import StackFolder
from infra.backends.local.java import Java
from infra.backends.local.launching import is_launched, write_launch
from infra.backends.local.orphans import end_orphans, find_orphans, note_processes, read_noted, wait_gone
from infra.backends.local.preparing import read_clusters
from infra.backends.local.previewing import given_settings, judge_running
from infra.backends.local.processes import Tools, plan_processes
from infra.backends.local.record import StackRecord
from infra.backends.local.renewal import runs_otherwise
from infra.backends.local.stand_in import STAND_IN
from infra.backends.local.status import SUPERVISOR, process_row, supervisor_row
from infra.backends.local.supervisor import SupervisorAway, SupervisorClient, start_daemon
from infra.backends.plan import STOP_ORDER, in_renewal_order, roles_by_server
from infra.backends.preview import ProcessChange, preview_changes

_SHUTDOWN_WAIT_S: Final = 60.0
"""For supervisord to end what it runs: longer than the slowest process may take to stop."""
_RUNNING: Final = ("running", "starting", "backoff", "stopping")


def plan_by_name(record: StackRecord, folder: StackFolder) -> tuple[ProcessSpec, ...]:
    """As planned; names, kinds and ports are right whatever tools this machine has."""
    spec = record.spec
    named = Tools(
        postgres_bin=Path("bin"),
        redis_server=None if spec.redis_url else Path(REDIS),
        java=None if spec.kafka_bootstrap_servers else Java(Path("java"), 17),
        prometheus=prometheus.locate_prometheus() if spec.monitoring else None,
    )
    return plan_processes(record, folder, named, None)


class RunningProcesses:
    """Cheap to make: nothing is touched before a method is called."""

    def __init__(self, folder: StackFolder, supervisor: SupervisorClient, report: Report) -> None:
        self._folder = folder
        self._supervisor = supervisor
        self._report = report

    async def supervised(self) -> bool:
        """Does a supervisord answer? Its processes may be in any state."""
        try:
            await self._supervisor.identify()
        except SupervisorAway:
            return False
        return True

    async def settle_stopped(self, planned: Sequence[ProcessSpec], *, running: bool) -> None:
        """Those that do not run start as planned now; the others go on as they are until they are renewed."""
        changed = await self._supervisor.apply_config() if running else frozenset[str]()
        seen = await self._supervisor.processes() if running else {}
        for process in planned:
            if process.name in seen and seen[process.name].pid:
                continue
            if is_launched(process):
                write_launch(process, self._folder)
            if process.name in changed:
                await self._supervisor.stop(process.name, wait=True)
                await self._supervisor.take_configuration(process.name)

    async def start(self, names: Sequence[str], record: StackRecord) -> None:
        """In this order; the supervisord before them if there is none. Raises BackendError."""
        if not await self.supervised():
            await self.end_orphans(record)
            self._remove_stale_pid_files(record)
            await start_daemon(self._folder, record.token)
        planned = {process.name: process for process in plan_by_name(record, self._folder)}
        seen = await self._supervisor.processes()
        for name in names:
            if name in planned and is_launched(planned[name]) and not (name in seen and seen[name].pid):
                write_launch(planned[name], self._folder)  # whoever stopped it may have had other settings
            await self._supervisor.start(name)
            self._report(Step(name, Phase.START))

    def _remove_stale_pid_files(self, record: StackRecord) -> None:
        for cluster in read_clusters(record, self._folder).values():
            if postgres.remove_stale_pid_file(cluster.data):
                self._report(Step(cluster.name, Phase.PREPARE, "removed a stale pid file"))

    async def outdated(self, record: StackRecord) -> tuple[str, ...]:
        """Those that run otherwise than planned, in the order in which to renew them."""
        if not await self.supervised():
            return ()
        changed = await self._supervisor.changed_programs()
        seen = await self._supervisor.processes()
        found = []
        for process in plan_by_name(record, self._folder):
            pid = seen[process.name].pid if process.name in seen else None
            if pid is not None and (process.name in changed or runs_otherwise(process, pid)):
                found.append(process)
        return in_renewal_order(found)

    async def preview(self, before: StackRecord | None, after: StackRecord) -> tuple[ProcessChange, ...]:
        """What the record `after` would change of each process that runs, or that `before` has."""
        planned = plan_by_name(after, self._folder)
        known = {process.name: process.kind for process in planned}
        known |= {process.name: process.kind for process in (plan_by_name(before, self._folder) if before else ())}
        try:
            seen = await self._supervisor.processes()
            changed = await self._supervisor.changed_programs()
        except SupervisorAway:
            return preview_changes(planned, {}, dict.fromkeys(known, "the stack does not run") if before else {})
        return preview_changes(planned, *judge_running(planned, seen, changed, known, self._folder))

    async def given_settings(self, name: str) -> dict[str, str] | None:
        """What a running process was started with; None if it does not run, or cannot be read."""
        try:
            seen = (await self._supervisor.processes()).get(name)
        except SupervisorAway:
            return None
        return given_settings(seen.pid) if seen is not None and seen.pid else None

    async def note(self) -> None:
        """Remember who runs, so that they are found if supervisord is killed."""
        running = await self._supervisor.processes()
        pids = {name: seen.pid for name, seen in running.items() if seen.pid}
        note_processes(self._folder.process_record, {**pids, SUPERVISOR: await self._supervisor.identify()})

    async def status(self, record: StackRecord) -> tuple[ProcessStatus, ...]:
        """Supervisord, then every process, whether it runs or not."""
        try:
            supervisor_pid = await self._supervisor.identify()
            seen = await self._supervisor.processes()
        except SupervisorAway:
            supervisor_pid, seen = None, {}
        planned = list(plan_by_name(record, self._folder))
        if STAND_IN in seen and seen[STAND_IN].pid:
            planned.append(ProcessSpec(STAND_IN, ProcessKind.API, ()))
        rows = await asyncio.to_thread(lambda: [process_row(process, seen.get(process.name)) for process in planned])
        return (supervisor_row(supervisor_pid), *rows)

    async def stop(self, names: Sequence[str], record: StackRecord) -> None:
        """Stage by stage, routers first."""
        if not await self.supervised():
            return
        kinds = {process.name: process.kind for process in plan_by_name(record, self._folder)}
        kinds[STAND_IN] = ProcessKind.API
        seen = await self._supervisor.processes()
        running = [name for name in names if name in seen and seen[name].state in _RUNNING]
        for stage in STOP_ORDER:
            together = [name for name in running if kinds.get(name) in stage]
            await asyncio.gather(*(self._supervisor.stop(name, wait=True) for name in together))
            for name in together:
                self._report(Step(name, Phase.STOP))

    async def stop_all(self, record: StackRecord | None) -> None:
        """Everything, supervisord too, then whatever an earlier one left behind. Raises BackendError."""
        try:
            pid = await self._supervisor.identify()
            if record is not None:
                await self.stop(tuple(await self._supervisor.processes()), record)
            await self._supervisor.shut_down()
        except SupervisorAway:
            pid = None
        if pid is not None and not await asyncio.to_thread(wait_gone, pid, _SHUTDOWN_WAIT_S):
            raise BackendError(f"supervisord (pid {pid}) did not end within {_SHUTDOWN_WAIT_S:.0f} s")
        if record is not None:
            await self.end_orphans(record)

    async def end_orphans(self, record: StackRecord) -> tuple[int, ...]:
        """End processes of this stack that no supervisord looks after; returns their pids."""
        folders = [self._folder.data(name) for name in roles_by_server(record.spec)]
        noted = read_noted(self._folder.process_record)
        orphans = await asyncio.to_thread(find_orphans, record.token, noted, folders)
        if orphans:
            self._report(Step("orphans", Phase.STOP, f"{len(orphans)} processes of a killed supervisord"))
            await asyncio.to_thread(end_orphans, orphans)
        self._folder.process_record.unlink(missing_ok=True)
        return tuple(process.pid for process in orphans)
