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

from infra.backends.addresses import PROMETHEUS, Addresses
from infra.backends.backend import Backend, BackendError, JobResult, Redirect, Report, quiet
from infra.backends.cell_spec import Job, ProcessKind, ProcessSpec, ProcessStatus, StackSpec
from infra.backends.checkout import project_root
from infra.backends.finding import Finding
from infra.backends.local import logs, postgres, prometheus
from infra.backends.local.accounts import server_user
from infra.backends.local.archive import archive_process_name
from infra.backends.local.backups import LocalBackups
from infra.backends.local.commands import COMMAND_TIMEOUT_S, clean_environment, run_command
from infra.backends.local.examine import examine_machine, examine_stack
from infra.backends.local.external import external_servers
from infra.backends.local.fence import fenced_lock
from infra.backends.local.folders import StackFolder
from infra.backends.local.launching import as_supervised, launcher_command
from infra.backends.local.ports import port_registry, port_registry_path
from infra.backends.local.preparing import (
    finish_restores,
    prepare_servers,
    read_clusters,
    read_record,
    refuse_unreachable,
    save_with_ports,
    with_restored,
    write_secrets,
)
from infra.backends.local.processes import make_addresses, make_layout, plan_processes
from infra.backends.local.readiness import await_processes, is_ready, readiness_facts
from infra.backends.local.record import StackRecord, load_record, new_record, save_record
from infra.backends.local.renewal import Renewal
from infra.backends.local.restores import LocalRestores
from infra.backends.local.running import RunningProcesses, plan_by_name
from infra.backends.local.stand_in import PORT_NAMES, STAND_IN
from infra.backends.local.supervisor import SupervisorClient, render_config, write_config
from infra.backends.plan import SOURCE_DSN, job_command, port_names
from infra.backends.preview import ProcessChange
from infra.backends.topics import PARTITIONS, kept_topics, stack_topics
from infra.runtime.kafka_admin import ensure_topics

_TOPICS_TIMEOUT_S = 30.0
"""For the broker to make them; one that has just started takes seconds."""
_JOB_ON_COPY_S = 3_600.0
"""Of a job on a restored server: its checks read whole tables, some minutes for each ten million rows."""


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
        self._processes = RunningProcesses(folder, self._supervisor, report)

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
        return read_record(self.folder, self.stack)

    def exists(self) -> bool:
        return self.folder.record.exists()

    def addresses(self) -> Addresses:
        return make_addresses(self.record(), self.folder)

    def _clusters(self) -> dict[str, postgres.Cluster]:
        return read_clusters(self.record(), self.folder)

    async def is_running(self) -> bool:
        """Does a supervisord answer? Its processes may be in any state."""
        return await self._processes.supervised()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """One command at a time changes a stack; a second one waits."""
        self.folder.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.folder.lock.open("w") as file:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
            yield

    def fenced(self, lease: int | None) -> AbstractAsyncContextManager[None]:
        """Raises Overtaken, BackendError."""
        return fenced_lock(self.folder, lease)

    # ---- create --------------------------------------------------------------------------------------------------

    async def create(self, spec: StackSpec) -> None:
        """Ports, secrets, data directories and supervisord's configuration for `spec`. Raises BackendError."""
        user = server_user()
        self.folder.ensure()
        refuse_unreachable(self.folder, user)
        running = await self.is_running()
        if self.exists() and not running:
            await self.end_orphans()
        save_with_ports(with_restored(spec, self.folder), self.stack, self.folder, running=running)
        record = finish_restores(self.record(), self.folder, self._report)
        write_secrets(record, self.folder)
        tools = await prepare_servers(record, self.folder, self._report, user)
        planned = plan_processes(record, self.folder, tools, user.name if user else None)
        supervised = [as_supervised(process, self.folder) for process in planned]
        stand_in = ProcessSpec(STAND_IN, ProcessKind.API, launcher_command(STAND_IN, self.folder))
        write_config(self.folder, render_config([*supervised, stand_in], self.folder, as_root=user is not None))
        if tools.prometheus is not None:
            await self._prepare_prometheus(planned)
        await self._processes.settle_stopped(planned, running=running)
        if running and tools.prometheus is not None:
            await self._supervisor.signal(PROMETHEUS, "HUP")

    async def _prepare_prometheus(self, planned: Sequence[ProcessSpec]) -> None:
        """What it reads: at every change of the stack, so a new cell is found within seconds."""
        for path in (self.folder.monitoring, self.folder.data(PROMETHEUS)):
            path.mkdir(mode=0o700, exist_ok=True)
        done = await self.run_job(prometheus.rules_job(self.folder))
        if done.exit_code != 0:
            raise BackendError(f"rules and dashboards could not be made:\n{done.output.strip()}")
        prometheus.write_config(self.folder, self.stack, planned)

    # ---- processes -----------------------------------------------------------------------------------------------

    async def plan(self) -> tuple[ProcessSpec, ...]:
        """The processes of the stack as planned; names, kinds and ports are right whatever tools this machine has."""
        return plan_by_name(self.record(), self.folder)

    async def preview(self, spec: StackSpec) -> tuple[ProcessChange, ...]:
        """Of servers that others wrote, only what their supervisord knows counts: where their binaries lie is found out
        by `create`, which may copy or fetch them. Raises BackendError."""
        before = load_record(self.folder.record)
        record = (before or new_record(self.stack, spec)).with_spec(with_restored(spec, self.folder))
        # A port that is yet to be found stands in no other process's settings.
        unclaimed = dict.fromkeys((*port_names(spec), *PORT_NAMES), 0)
        return await self._processes.preview(before, record.with_ports({**unclaimed, **record.ports}))

    async def start(self, names: Sequence[str]) -> None:
        await self._processes.start(names, self.record())

    async def await_ready(self, names: Sequence[str], timeout_s: float) -> None:
        """Raises BackendError."""
        wanted = [process for process in await self.plan() if process.name in names]
        await await_processes(wanted, self._supervisor, self.folder, self._report, timeout_s)
        await self._processes.note()

    async def outdated(self) -> tuple[str, ...]:
        return await self._processes.outdated(self.record())

    async def renew(self, name: str, timeout_s: float, redirect: Redirect) -> None:
        await (await self._renewal()).renew(name, timeout_s, redirect)
        await self._processes.note()

    async def finish_renewal(self, timeout_s: float, redirect: Redirect) -> None:
        await (await self._renewal()).finish(timeout_s, redirect)

    async def _renewal(self) -> Renewal:
        planned = {process.name: process for process in await self.plan()}
        return Renewal(self._supervisor, self.folder, self._report, self.addresses(), planned)

    async def given_settings(self, name: str) -> Mapping[str, str] | None:
        return await self._processes.given_settings(name)

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
        return await ensure_topics(
            self.addresses().kafka,
            names,
            partitions=PARTITIONS,
            timeout_s=_TOPICS_TIMEOUT_S,
            kept=kept_topics(spec.topic_prefix),
        )

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
        return await self._run_job(job, self.addresses(), {}, COMMAND_TIMEOUT_S)

    async def _run_job(self, job: Job, addresses: Addresses, more: Mapping[str, str], timeout_s: float) -> JobResult:
        command, environment = job_command(job, addresses, make_layout(self.folder))
        environment = {**clean_environment(), **environment, **more}
        return await run_command(command, environment=environment, directory=project_root(), timeout_s=timeout_s)

    # ---- backups -------------------------------------------------------------------------------------------------

    def open_backups(self, report: Report, lease: int | None = None) -> LocalBackups:
        return LocalBackups(self, report, lease)

    def open_restores(self, report: Report, lease: int | None = None) -> LocalRestores:
        return LocalRestores(self, LocalBackups(self, report, lease), report)

    async def run_job_on(
        self, job: Job, cluster: postgres.Cluster, passfile: Path, environment: Mapping[str, str]
    ) -> JobResult:
        """With the DSNs of another server than the stack's: one that is being restored."""
        addresses = self.addresses()
        dsns = {role: cluster.dsn(role, passfile) for role in cluster.roles.all}
        elsewhere = dataclasses.replace(addresses, dsns={**addresses.dsns, cluster.name: dsns})
        source = {SOURCE_DSN: addresses.dsn(cluster.name, cluster.roles.service)}
        return await self._run_job(job, elsewhere, {**source, **environment}, _JOB_ON_COPY_S)

    def cluster(self, server: str) -> postgres.Cluster:
        """Raises BackendError for a server that the stack does not have."""
        clusters = self._clusters()
        if server not in clusters:
            raise BackendError(f"there is no database server {server}; there are: {', '.join(clusters)}")
        return clusters[server]

    async def archive_to(self, server: str, archive: str | None, lease: int | None) -> None:
        """Its process ends; if there is an archive, one that writes to it starts."""
        async with self.fenced(lease):
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
        """Everything in order, routers first; then whatever an earlier supervisord left behind. Raises
        BackendError."""
        await self._processes.stop_all(load_record(self.folder.record))

    async def stop_processes(self, names: Sequence[str]) -> None:
        await self._processes.stop(names, self.record())

    async def end_orphans(self) -> tuple[int, ...]:
        """End processes of this stack that no supervisord looks after; returns their pids."""
        return await self._processes.end_orphans(self.record())

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
        return await self._processes.status(self.record())
