"""The local backend: folders, data directories and processes of one stack on this machine.

`create`, `start` and `stop` may be repeated and may follow a crash at any moment: what is already so is left alone,
what a killed supervisord left behind is ended first. Data is removed by `destroy` only. Two commands on one stack
wait for each other.
"""

import asyncio
import dataclasses
import fcntl
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from infra.backends.addresses import KAFKA, PROMETHEUS, REDIS, Addresses
from infra.backends.backend import Backend, BackendError, JobResult, Phase, Redirect, Report, Step, quiet
from infra.backends.cell_spec import Job, ProcessKind, ProcessSpec, ProcessStatus, StackSpec, postgres_name
from infra.backends.checkout import project_root
from infra.backends.finding import Finding
from infra.backends.local import kafka, logs, postgres, prometheus
from infra.backends.local.accounts import ServerUser, first_closed_folder, server_user
from infra.backends.local.archive import archive_process_name
from infra.backends.local.backups import LocalBackups
from infra.backends.local.commands import clean_environment, run_command
from infra.backends.local.examine import examine_machine, examine_stack
from infra.backends.local.external import external_servers
from infra.backends.local.fence import fenced_lock
from infra.backends.local.folders import StackFolder, cache_root
from infra.backends.local.java import Java, locate_java
from infra.backends.local.kafka_jars import locate_jars
from infra.backends.local.launching import as_supervised, is_launched, launcher_command, write_launch
from infra.backends.local.orphans import end_orphans, find_orphans, note_processes, read_noted, wait_gone
from infra.backends.local.ports import is_free, port_registry, port_registry_path
from infra.backends.local.previewing import judge_running
from infra.backends.local.processes import (
    EXCHANGE_DATA,
    Tools,
    kafka_properties,
    make_addresses,
    make_clusters,
    make_layout,
    plan_processes,
)
from infra.backends.local.readiness import await_processes, is_ready, readiness_facts
from infra.backends.local.record import StackRecord, load_json, load_record, new_record, replace_file, save_record
from infra.backends.local.redis import locate_redis_server
from infra.backends.local.renewal import Renewal, runs_otherwise
from infra.backends.local.restores import LocalRestores
from infra.backends.local.restoring import finish_restore, pending_incarnation
from infra.backends.local.stand_in import PORT_NAMES, STAND_IN
from infra.backends.local.status import SUPERVISOR, process_row, supervisor_row
from infra.backends.local.supervisor import (
    SupervisorAway,
    SupervisorClient,
    render_config,
    start_daemon,
    write_config,
)
from infra.backends.plan import STOP_ORDER, in_renewal_order, job_command, port_names, roles_by_server
from infra.backends.preview import ProcessChange, preview_changes
from infra.backends.topics import PARTITIONS, stack_topics
from infra.runtime.kafka_admin import ensure_topics

_SHUTDOWN_WAIT_S = 60.0
"""For supervisord to end what it runs: longer than the slowest process may take to stop."""
_TOPICS_TIMEOUT_S = 30.0
"""For the broker to make them; one that has just started takes seconds."""
_RUNNING = ("running", "starting", "backoff", "stopping")


def open_local(stack: str, state_root: Path, report: Report) -> "LocalBackend":
    """What the catalog calls `local`."""
    return LocalBackend(stack, StackFolder(state_root / stack), report)


class LocalBackend(Backend):
    """One stack. Cheap to make: nothing is touched before a method is called."""

    def __init__(self, stack: str, folder: StackFolder, report: Report = quiet) -> None:
        self._stack = stack
        self.folder = folder
        self._report = report
        self._supervisor = SupervisorClient(folder.supervisor_socket)

    # ---- what there is -------------------------------------------------------------------------------------------

    @property
    def stack(self) -> str:
        return self._stack

    @property
    def location(self) -> str:
        return str(self.folder.root)

    def spec(self) -> StackSpec:
        return self.record().spec

    def record(self) -> StackRecord:
        """The record of this stack. Raises BackendError if there is none."""
        record = load_record(self.folder.record)
        if record is None:
            raise BackendError(f"there is no stack {self.stack}: start one with `shardctl up`")
        return record

    def exists(self) -> bool:
        return self.folder.record.exists()

    def addresses(self) -> Addresses:
        return make_addresses(self.record(), self.folder)

    def _clusters(self) -> dict[str, postgres.Cluster]:
        return make_clusters(self.record(), self.folder, load_json(self._passwords_path) or {})

    @property
    def _passwords_path(self) -> Path:
        return self.folder.secrets / "passwords.json"

    async def is_running(self) -> bool:
        """Does a supervisord answer? Its processes may be in any state."""
        try:
            await self._supervisor.identify()
        except SupervisorAway:
            return False
        return True

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """One command at a time changes a stack; a second one waits."""
        self.folder.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.folder.lock.open("w") as file:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
            yield

    def fenced(self, lease: int | None) -> AbstractAsyncContextManager[None]:
        return fenced_lock(self.folder, lease)

    # ---- create --------------------------------------------------------------------------------------------------

    async def create(self, spec: StackSpec) -> None:
        """Ports, secrets, data directories and supervisord's configuration for `spec`."""
        user = server_user()
        self.folder.ensure()
        self._refuse_unreachable_folder(user)
        running = await self.is_running()
        if self.exists() and not running:
            await self.end_orphans()
        self._save_with_ports(self._with_restored(spec), running=running)
        self._finish_restores()
        self._write_secrets()
        tools = await self._prepare(user)
        planned = plan_processes(self.record(), self.folder, tools, user.name if user else None)
        supervised = [as_supervised(process, self.folder) for process in planned]
        stand_in = ProcessSpec(STAND_IN, ProcessKind.API, launcher_command(STAND_IN, self.folder))
        write_config(self.folder, render_config([*supervised, stand_in], self.folder, as_root=user is not None))
        if tools.prometheus is not None:
            await self._prepare_prometheus(planned)
        await self._settle_those_that_do_not_run(planned, running=running)
        if running and tools.prometheus is not None:
            await self._supervisor.signal(PROMETHEUS, "HUP")

    async def _settle_those_that_do_not_run(self, planned: Sequence[ProcessSpec], *, running: bool) -> None:
        """They start as planned now; those that run go on as they are until they are renewed."""
        changed = await self._supervisor.apply_config() if running else frozenset[str]()
        seen = await self._supervisor.processes() if running else {}
        for process in planned:
            if process.name in seen and seen[process.name].pid:
                continue
            if is_launched(process):
                write_launch(process, self.folder)
            if process.name in changed:
                await self._supervisor.stop(process.name, wait=True)
                await self._supervisor.take_configuration(process.name)

    def _with_restored(self, spec: StackSpec) -> StackSpec:
        """Also those restores count that a crash kept from being put in their place."""
        pending = {cell.name: pending_incarnation(self.folder, postgres_name(cell.name)) for cell in spec.cells}
        decided = {cell: incarnation for cell, incarnation in pending.items() if incarnation is not None}
        return dataclasses.replace(spec, incarnations={**spec.incarnations, **decided})

    def _finish_restores(self) -> None:
        for server in roles_by_server(self.spec()):
            if (kept := finish_restore(self.folder, server)) is not None:
                # The archive is that of the server which is gone.
                save_record(self.folder.record, self.record().with_archive(server, None))
                self._report(Step(server, Phase.PREPARE, f"restored; the old data is kept in {kept}"))

    def _refuse_unreachable_folder(self, user: ServerUser | None) -> None:
        closed = first_closed_folder(self.folder.root / "data", user) if user else None
        if user is not None and closed is not None:
            raise BackendError(
                f"the user {user.name}, who runs PostgreSQL because we are root, cannot enter {closed}: "
                f"run `chmod o+x {closed}`, or set SHARDCTL_STATE_DIR to another folder"
            )

    def _save_with_ports(self, spec: StackSpec, *, running: bool) -> None:
        with port_registry(port_registry_path()) as registry:
            record = load_record(self.folder.record) or new_record(self.stack, spec)
            # A running stack's ports are busy because it uses them; a stopped one's may have been taken by a stranger.
            held = {name: port for name, port in record.ports.items() if running or is_free(port)}
            ports = registry.claim(self.folder.root, (*port_names(spec), *PORT_NAMES), held)
            save_record(self.folder.record, record.with_spec(spec).with_ports(ports))

    def _write_secrets(self) -> None:
        record = self.record()
        passwords = postgres.load_or_make_passwords(self._passwords_path, roles_by_server(record.spec))
        clusters = make_clusters(record, self.folder, passwords).values()
        lines = [line for cluster in clusters for line in cluster.pgpass_lines()]
        replace_file(self.folder.pgpass, ("\n".join(lines) + "\n").encode(), mode=0o600)

    async def _prepare(self, user: ServerUser | None) -> Tools:
        spec = self.record().spec
        binaries = postgres.locate_binaries(user)
        for name in (REDIS, EXCHANGE_DATA):
            self.folder.data(name).mkdir(mode=0o700, parents=True, exist_ok=True)
        clusters = self._clusters().values()
        kafka_tools, *_ = await asyncio.gather(
            self._prepare_kafka(spec), *(self._prepare_postgres(cluster, binaries, user) for cluster in clusters)
        )
        java, class_path = kafka_tools or (None, "")
        server = locate_redis_server() if spec.redis_url is None else None
        return Tools(binaries, server, java, class_path, cache_root(), self._locate_prometheus(spec))

    def _locate_prometheus(self, spec: StackSpec) -> Path | None:
        program = prometheus.locate_prometheus() if spec.monitoring else None
        if spec.monitoring and program is None:
            self._report(Step(PROMETHEUS, Phase.PREPARE, f"not on this machine: {prometheus.INSTALL}"))
        return program

    async def _prepare_prometheus(self, planned: Sequence[ProcessSpec]) -> None:
        """What it reads: at every change of the stack, so a new cell is found within seconds."""
        for path in (self.folder.monitoring, self.folder.data(PROMETHEUS)):
            path.mkdir(mode=0o700, exist_ok=True)
        done = await self.run_job(prometheus.rules_job(self.folder))
        if done.exit_code != 0:
            raise BackendError(f"rules and dashboards could not be made:\n{done.output.strip()}")
        prometheus.write_config(self.folder, self.stack, planned)

    async def _prepare_postgres(self, cluster: postgres.Cluster, binaries: Path, user: ServerUser | None) -> None:
        if await postgres.prepare_cluster(cluster, binaries, user):
            self._report(Step(cluster.name, Phase.PREPARE, "new data directory"))

    async def _prepare_kafka(self, spec: StackSpec) -> tuple[Java, str] | None:
        if spec.kafka_bootstrap_servers is not None:
            return None
        class_path = await locate_jars(self._report)
        java = await locate_java()
        await kafka.prepare_storage(
            java=java,
            class_path=class_path,
            properties=self.folder.run / "kafka.properties",
            text=kafka_properties(self.record(), self.folder),
            data=self.folder.data(KAFKA),
            cluster_id=self.record().kafka_cluster_id,
        )
        return java, class_path

    # ---- processes -----------------------------------------------------------------------------------------------

    async def plan(self) -> tuple[ProcessSpec, ...]:
        """The processes of the stack as planned; names, kinds and ports are right whatever tools this machine has."""
        record = self.record()
        return plan_processes(record, self.folder, self._named_tools(record.spec), None)

    @staticmethod
    def _named_tools(spec: StackSpec) -> Tools:
        return Tools(
            postgres_bin=Path("bin"),
            redis_server=None if spec.redis_url else Path(REDIS),
            java=None if spec.kafka_bootstrap_servers else Java(Path("java"), 17),
            prometheus=prometheus.locate_prometheus() if spec.monitoring else None,
        )

    async def preview(self, spec: StackSpec) -> tuple[ProcessChange, ...]:
        """Of servers that others wrote, only what their supervisord knows counts: where their binaries lie is found
        out by `create`, which may copy or fetch them."""
        before = load_record(self.folder.record)
        record = (before or new_record(self.stack, spec)).with_spec(self._with_restored(spec))
        # A port that is yet to be found stands in no other process's settings.
        unclaimed = dict.fromkeys((*port_names(spec), *PORT_NAMES), 0)
        record = record.with_ports({**unclaimed, **record.ports})
        planned = plan_processes(record, self.folder, self._named_tools(spec), None)
        known = {process.name: process.kind for process in (*planned, *(await self.plan() if before else ()))}
        try:
            seen = await self._supervisor.processes()
            changed = await self._supervisor.changed_programs()
        except SupervisorAway:
            return preview_changes(planned, {}, dict.fromkeys(known, "the stack does not run") if before else {})
        return preview_changes(planned, *judge_running(planned, seen, changed, known, self.folder))

    async def start(self, names: Sequence[str]) -> None:
        if not await self.is_running():
            await self.end_orphans()
            self._remove_stale_pid_files()
            await start_daemon(self.folder, self.record().token)
        planned = {process.name: process for process in await self.plan()}
        seen = await self._supervisor.processes()
        for name in names:
            if name in planned and is_launched(planned[name]) and not (name in seen and seen[name].pid):
                write_launch(planned[name], self.folder)  # whoever stopped it may have had other settings
            await self._supervisor.start(name)
            self._report(Step(name, Phase.START))

    def _remove_stale_pid_files(self) -> None:
        for cluster in self._clusters().values():
            if postgres.remove_stale_pid_file(cluster.data):
                self._report(Step(cluster.name, Phase.PREPARE, "removed a stale pid file"))

    async def await_ready(self, names: Sequence[str], timeout_s: float) -> None:
        wanted = [process for process in await self.plan() if process.name in names]
        await await_processes(wanted, self._supervisor, self.folder, self._report, timeout_s)
        await self._note()

    async def outdated(self) -> tuple[str, ...]:
        if not await self.is_running():
            return ()
        changed = await self._supervisor.changed_programs()
        seen = await self._supervisor.processes()
        found = []
        for process in await self.plan():
            pid = seen[process.name].pid if process.name in seen else None
            if pid is not None and (process.name in changed or runs_otherwise(process, pid)):
                found.append(process)
        return in_renewal_order(found)

    async def renew(self, name: str, timeout_s: float, redirect: Redirect) -> None:
        await (await self._renewal()).renew(name, timeout_s, redirect)
        await self._note()

    async def finish_renewal(self, timeout_s: float, redirect: Redirect) -> None:
        await (await self._renewal()).finish(timeout_s, redirect)

    async def _renewal(self) -> Renewal:
        planned = {process.name: process for process in await self.plan()}
        return Renewal(self._supervisor, self.folder, self._report, self.addresses(), planned)

    async def _note(self) -> None:
        running = await self._supervisor.processes()
        pids = {name: seen.pid for name, seen in running.items() if seen.pid}
        note_processes(self.folder.process_record, {**pids, SUPERVISOR: await self._supervisor.identify()})

    async def is_ready(self, process: ProcessSpec) -> bool:
        return await is_ready(process)

    async def readiness_facts(self, process: ProcessSpec) -> Mapping[str, Any]:
        return await readiness_facts(process)

    # ---- servers, secrets, jobs ----------------------------------------------------------------------------------

    def external_servers(self) -> Mapping[str, str]:
        return external_servers()

    async def reconcile_roles(self, server: str) -> None:
        """What a server's roles may do, as this release means it: a data directory of an older one is mended here."""
        await postgres.set_up_roles(self._clusters()[server], self.folder.pgpass)

    async def ensure_topics(self) -> tuple[str, ...]:
        spec = self.spec()
        names = stack_topics(tuple(cell.name for cell in spec.cells), spec.topic_prefix)
        return await ensure_topics(self.addresses().kafka, names, partitions=PARTITIONS, timeout_s=_TOPICS_TIMEOUT_S)

    @property
    def control_socket(self) -> Path:
        return self.folder.control_socket

    @property
    def keys_folder(self) -> Path:
        return self.folder.keys

    async def publish_keys(self) -> None:
        """Nothing to do: processes read the folder itself."""

    def reader_dsn(self, server: str) -> str:
        cluster = self._clusters()[server]
        return cluster.dsn_with_password(cluster.roles.auditor)

    async def run_job(self, job: Job) -> JobResult:
        return await self._run_job(job, self.addresses())

    async def _run_job(self, job: Job, addresses: Addresses) -> JobResult:
        command, environment = job_command(job, addresses, make_layout(self.folder))
        return await run_command(command, environment={**clean_environment(), **environment}, directory=project_root())

    # ---- backups -------------------------------------------------------------------------------------------------

    def open_backups(self, report: Report) -> LocalBackups:
        return LocalBackups(self, report)

    def open_restores(self, report: Report) -> LocalRestores:
        return LocalRestores(self, LocalBackups(self, report), report)

    async def run_job_on(self, job: Job, cluster: postgres.Cluster, passfile: Path) -> JobResult:
        """With the DSNs of another server than the stack's: one that is being restored."""
        addresses = self.addresses()
        dsns = {role: cluster.dsn(role, passfile) for role in cluster.roles.all}
        return await self._run_job(job, dataclasses.replace(addresses, dsns={**addresses.dsns, cluster.name: dsns}))

    def cluster(self, server: str) -> postgres.Cluster:
        """Raises BackendError for a server that the stack does not have."""
        clusters = self._clusters()
        if server not in clusters:
            raise BackendError(f"there is no database server {server}; there are: {', '.join(clusters)}")
        return clusters[server]

    async def archive_to(self, server: str, archive: str | None) -> None:
        """Its process ends; if there is an archive, one that writes to it starts."""
        async with self.lock():
            await self._supervisor.stop(archive_process_name(server), wait=True)
            save_record(self.folder.record, self.record().with_archive(server, archive))
            await self.create(self.spec())
            if archive is not None:
                await self.start([archive_process_name(server)])

    # ---- logs and examination ------------------------------------------------------------------------------------

    def known_logs(self) -> list[tuple[str, int]]:
        return logs.known_logs(self.folder)

    def last_lines(self, name: str, count: int) -> list[str]:
        return logs.last_lines(self.folder, name, count)

    def follow_log(self, name: str) -> Iterator[str]:
        return logs.follow_log(self.folder, name)

    async def examine(self) -> AsyncIterator[Finding]:
        async for finding in examine_machine(self.folder):
            yield finding
        if self.exists():
            for finding in self._examine_stack(is_running=await self.is_running()):
                yield finding

    def _examine_stack(self, *, is_running: bool) -> tuple[Finding, ...]:
        return examine_stack(self.folder, is_running=is_running, monitoring=self.spec().monitoring)

    # ---- stop ----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Everything in order, customers' doors first; then whatever an earlier supervisord left behind. Raises
        BackendError."""
        try:
            pid = await self._supervisor.identify()
            await self.stop_processes(tuple(await self._supervisor.processes()))
            await self._supervisor.shut_down()
        except SupervisorAway:
            pid = None
        if pid is not None and not await asyncio.to_thread(wait_gone, pid, _SHUTDOWN_WAIT_S):
            raise BackendError(f"supervisord (pid {pid}) did not end within {_SHUTDOWN_WAIT_S:.0f} s")
        if self.exists():
            await self.end_orphans()

    async def stop_processes(self, names: Sequence[str]) -> None:
        if not await self.is_running():
            return
        kinds = {process.name: process.kind for process in await self.plan()} | {STAND_IN: ProcessKind.API}
        seen = await self._supervisor.processes()
        running = [name for name in names if name in seen and seen[name].state in _RUNNING]
        for stage in STOP_ORDER:
            together = [name for name in running if kinds.get(name) in stage]
            await asyncio.gather(*(self._supervisor.stop(name, wait=True) for name in together))
            for name in together:
                self._report(Step(name, Phase.STOP))

    async def end_orphans(self) -> tuple[int, ...]:
        """End processes of this stack that no supervisord looks after; returns their pids."""
        record = self.record()
        folders = [self.folder.data(name) for name in roles_by_server(record.spec)]
        noted = read_noted(self.folder.process_record)
        orphans = await asyncio.to_thread(find_orphans, record.token, noted, folders)
        if orphans:
            self._report(Step("orphans", Phase.STOP, f"{len(orphans)} processes of a killed supervisord"))
            await asyncio.to_thread(end_orphans, orphans)
        self.folder.process_record.unlink(missing_ok=True)
        return tuple(process.pid for process in orphans)

    async def destroy(self) -> None:
        await self.stop()
        with port_registry(port_registry_path()) as registry:
            registry.release(self.folder.root)
            # The record goes last but one: while it exists, a second attempt finds everything that is left.
            for path in self.folder.root.iterdir() if self.folder.root.exists() else ():
                if path not in (self.folder.record, self.folder.run):
                    shutil.rmtree(path, ignore_errors=True)
            self.folder.record.unlink(missing_ok=True)
            shutil.rmtree(self.folder.root, ignore_errors=True)

    # ---- status --------------------------------------------------------------------------------------------------

    async def status(self) -> tuple[ProcessStatus, ...]:
        try:
            supervisor_pid = await self._supervisor.identify()
            seen = await self._supervisor.processes()
        except SupervisorAway:
            supervisor_pid, seen = None, {}
        planned = list(await self.plan())
        if STAND_IN in seen and seen[STAND_IN].pid:
            planned.append(ProcessSpec(STAND_IN, ProcessKind.API, ()))
        rows = await asyncio.to_thread(lambda: [process_row(process, seen.get(process.name)) for process in planned])
        return (supervisor_row(supervisor_pid), *rows)
