"""A back end that runs nothing: it writes down what it was asked for, and says that what was started runs.

It shows how little another back end needs, and that `shardctl` needs no change for one. Chosen as any other is:
`SHARDCTL_BACKEND=tests.support.recording_backend:open_recording`. Databases are those whose DSNs stand in
`RECORDING_OWNER_DSN`, `RECORDING_SERVICE_DSN`, `RECORDING_AUDITOR_DSN` and `RECORDING_LEADER_DSN`. The
process that `RECORDING_NEVER_READY` names cannot be renewed.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from infra.backends.addresses import Addresses, Endpoint
from infra.backends.backend import Backend, BackendError, JobResult, Overtaken, Phase, Redirect, Report, Step
from infra.backends.cell_spec import Job, ProcessSpec, ProcessStatus, StackSpec
from infra.backends.finding import Finding, good
from infra.backends.plan import HostLayout, in_renewal_order, plan_services, port_names, roles_by_server
from infra.backends.preview import ProcessChange, Running, preview_changes
from infra.backends.roles import CELL_MOVER, CONTROL_LEADER

NAME = "tests.support.recording_backend:open_recording"


def open_recording(stack: str, state_root: Path, report: Report) -> Backend:
    return RecordingBackend(stack, state_root / stack, report)


class RecordingBackend(Backend):
    def __init__(self, stack: str, folder: Path, report: Report) -> None:
        self._stack, self._folder, self._report = stack, folder, report

    # ---- the stack ---------------------------------------------------------------------------------------------------

    @property
    def stack(self) -> str:
        return self._stack

    @property
    def location(self) -> str:
        return str(self._folder)

    def exists(self) -> bool:
        return (self._folder / "spec.json").exists()

    def spec(self) -> StackSpec:
        if not self.exists():
            raise BackendError(f"there is no stack {self._stack}: start one with `shardctl up`")
        return msgspec.json.decode((self._folder / "spec.json").read_bytes(), type=StackSpec)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @asynccontextmanager
    async def fenced(self, lease: int | None) -> AsyncIterator[None]:
        with (self._folder / "lock").open("w") as file:
            while not _taken(file.fileno()):  # noqa: ASYNC110 - another holder has no event
                await asyncio.sleep(0.01)
            noted = self._folder / "leader"
            met = int(noted.read_text()) if noted.exists() else 0
            if lease is not None and lease < met:
                raise Overtaken(f"lease {lease} is over: {met} leads")
            noted.write_text(str(max(met, lease or 0)))
            yield

    async def create(self, spec: StackSpec) -> None:
        self.keys_folder.mkdir(parents=True, exist_ok=True)
        if self.exists() and self.spec() != spec:
            self._note("spec changed")
        (self._folder / "spec.json").write_bytes(msgspec.json.encode(spec))
        self._note("create", *(cell.name for cell in spec.cells))

    async def destroy(self) -> None:
        self._note("destroy")
        (self._folder / "spec.json").unlink()

    # ---- processes ---------------------------------------------------------------------------------------------------

    async def plan(self) -> tuple[ProcessSpec, ...]:
        return self._planned(self.spec())

    def _planned(self, spec: StackSpec) -> tuple[ProcessSpec, ...]:
        layout = HostLayout(
            self.keys_folder,
            self._folder / "map",
            self._folder / "exchange",
            self.control_socket,
            {"SHARDCTL_BACKEND": NAME, "SHARDCTL_STACK": self._stack},
            "0.0.0.0",
            "python3",
        )
        return plan_services(self._addresses_of(spec), layout)

    async def preview(self, spec: StackSpec) -> tuple[ProcessChange, ...]:
        known = {process.name: process for process in (await self.plan() if self.exists() else ())}
        wanted = {process.name: process for process in self._planned(spec)}
        outdated = await self.outdated() if self.exists() else ()
        running = {
            name: Running(process.kind, name in outdated or process != wanted.get(name), process.environment)
            for name, process in known.items()
            if name in self._running()
        }
        return preview_changes(wanted.values(), running, {})

    async def given_settings(self, name: str) -> Mapping[str, str] | None:
        return None

    async def start(self, names: Sequence[str]) -> None:
        running = self._running()
        started = [name for name in names if name not in running]
        for name in started:
            self._report(Step(name, Phase.START))
        self._note("start", *started)

    async def await_ready(self, names: Sequence[str], timeout_s: float) -> None:
        self._note("await_ready", *names)

    async def stop_processes(self, names: Sequence[str]) -> None:
        self._note("stop_processes", *names)

    async def stop(self) -> None:
        self._note("stop")

    # ---- renewing ----------------------------------------------------------------------------------------------------

    async def outdated(self) -> tuple[str, ...]:
        """Whoever was started or renewed before the spec changed last."""
        calls = self.calls()
        made = max((number for number, call in enumerate(calls) if call[0] == "spec changed"), default=0)
        renewed = {name for verb, *names in calls[made:] if verb in ("start", "renew") for name in names}
        return in_renewal_order(
            process for process in await self.plan() if process.name in self._running() and process.name not in renewed
        )

    async def renew(self, name: str, timeout_s: float, redirect: Redirect) -> None:
        if name == os.environ.get("RECORDING_NEVER_READY"):
            raise BackendError(f"{name} was not renewed and serves as before")
        self._note("renew", name)

    async def finish_renewal(self, timeout_s: float, redirect: Redirect) -> None:
        self._note("finish_renewal")

    # ---- observation -------------------------------------------------------------------------------------------------

    async def is_running(self) -> bool:
        return bool(self._running())

    async def status(self) -> tuple[ProcessStatus, ...]:
        return tuple(self._row(process) for process in await self.plan())

    async def is_ready(self, process: ProcessSpec) -> bool:
        return process.name in self._running()

    async def readiness_facts(self, process: ProcessSpec) -> Mapping[str, Any]:
        return {"status": "ready"} if await self.is_ready(process) else {}

    # ---- servers, addresses, secrets ---------------------------------------------------------------------------------

    def external_servers(self) -> Mapping[str, str]:
        return {"REDIS_URL": "redis://127.0.0.1:1/0", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    async def reconcile_roles(self, server: str) -> None:
        self._note("reconcile_roles", server)

    async def ensure_topics(self) -> tuple[str, ...]:
        self._note("ensure_topics")
        return ()

    def addresses(self) -> Addresses:
        return self._addresses_of(self.spec())

    def _addresses_of(self, spec: StackSpec) -> Addresses:
        endpoints = {name: Endpoint(f"{name}.example", 8000) for name in port_names(spec)}
        dsns = {
            server: {
                roles.owner: os.environ["RECORDING_OWNER_DSN"],
                roles.service: os.environ["RECORDING_SERVICE_DSN"],
                CELL_MOVER: os.environ["RECORDING_SERVICE_DSN"],  # of cells; nobody here moves a user
                roles.auditor: os.environ["RECORDING_AUDITOR_DSN"],
                CONTROL_LEADER: os.environ["RECORDING_LEADER_DSN"],
            }
            for server, roles in roles_by_server(spec).items()
        }
        return Addresses(spec, endpoints, dsns)

    @property
    def control_socket(self) -> Path:
        return self._folder / "control.sock"

    @property
    def keys_folder(self) -> Path:
        return self._folder / "keys"

    async def publish_keys(self) -> None:
        self._note("publish_keys", *sorted(path.name for path in self.keys_folder.glob("*.json")))

    def reader_dsn(self, server: str) -> str:
        return os.environ["RECORDING_AUDITOR_DSN"]

    # ---- logs, jobs, examination -------------------------------------------------------------------------------------

    def known_logs(self) -> list[tuple[str, int]]:
        return [("calls", self._calls_file.stat().st_size)]

    def last_lines(self, name: str, count: int) -> list[str]:
        if name != "calls":
            raise BackendError(f"no log of a process {name!r}; there are: calls")
        return [" ".join(call) for call in self.calls()[-count:]]

    def follow_log(self, name: str) -> Iterator[str]:
        return iter(self.last_lines(name, 0))

    async def run_job(self, job: Job) -> JobResult:
        self._note("run_job", job.cell or "", job.package, *job.arguments)
        return JobResult(0, "")

    async def examine(self) -> AsyncIterator[Finding]:
        yield good("recorder", "listens")

    # ---- what was asked for ------------------------------------------------------------------------------------------

    @property
    def _calls_file(self) -> Path:
        return self._folder / "calls.json"

    def calls(self) -> list[list[str]]:
        if not self._calls_file.exists():
            return []
        return msgspec.json.decode(self._calls_file.read_bytes(), type=list[list[str]])

    def _note(self, *call: str) -> None:
        self._calls_file.write_bytes(msgspec.json.encode([*self.calls(), list(call)]))

    def _running(self) -> set[str]:
        running: set[str] = set()
        for verb, *names in self.calls():
            if verb == "start":
                running.update(names)
            elif verb in ("stop", "destroy"):
                running.clear()
            elif verb == "stop_processes":
                running.difference_update(names)
        return running

    def _row(self, process: ProcessSpec) -> ProcessStatus:
        state = "running" if process.name in self._running() else "stopped"
        return ProcessStatus(
            process.name, process.kind, process.cell, state, None, process.port, process.operator_port, None, None
        )


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
