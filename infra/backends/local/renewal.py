"""Let a process begin anew, with what is planned for it now, without a lost request.

An app server: a stand-in starts beside it and becomes ready, the map leads to the stand-in, the process ends after its
last request and starts anew, the map leads back, the stand-in ends. Worker and relay: the stand-in waits for the lead,
takes it over when the process ends, and gives it back in the same way. A router: the stand-in only proves that the new
settings work; then the router reloads on its own listening socket. The exchange and servers of others start anew in
place, because their data have one writer; orders and events wait in the cells meanwhile.

Settings that do not work are found out by the stand-in, so whoever served goes on. A command that is killed at any
moment leaves a process, or a stand-in in its place, that serves; `finish` ends what it began.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from infra.backends.addresses import Addresses
from infra.backends.backend import BackendError, Phase, Redirect, Report, Step, quiet
from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.local.folders import StackFolder
from infra.backends.local.launching import digest_of, is_launched, launched_digest, stands_in_for, write_launch
from infra.backends.local.readiness import await_processes, readiness_facts
from infra.backends.local.stand_in import PORT_NAMES, STAND_IN, STOOD_IN, addresses_through, stand_in_for
from infra.backends.local.supervisor import SupervisorClient

_RELOAD_PAUSE_S = 0.1
"""Between looks at a router that reloads."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """Of the processes of one stack, as they are planned now."""

    supervisor: SupervisorClient
    folder: StackFolder
    report: Report
    addresses: Addresses
    processes: Mapping[str, ProcessSpec]

    async def renew(self, name: str, timeout_s: float, redirect: Redirect) -> None:
        """Each wait takes `timeout_s` at most. Raises BackendError that says who serves now."""
        process = self.processes[name]
        await self.finish(timeout_s, redirect)
        if process.kind is ProcessKind.ROUTER and await self._may_reload(process):
            await self._prove(process, timeout_s)
            await self._end_stand_in()
            await self._reload(process, timeout_s)
        elif process.kind in STOOD_IN:
            await self._prove(process, timeout_s)
            if process.kind is ProcessKind.API:
                await redirect(addresses_through(self.addresses, name))
            await self.replace(process)
            await self.finish(timeout_s, redirect)
        else:
            await self.replace(process)
            await self._await(process, timeout_s)
        self.report(Step(name, Phase.READY, "renewed"))

    async def finish(self, timeout_s: float, redirect: Redirect) -> None:
        """Give back what a stand-in does, if there is one, and end it. Raises BackendError."""
        if not await self.stand_in_pid():
            return
        # None: it stood in for a process that is planned no more.
        process = self.processes.get(stands_in_for(self.folder.launch(STAND_IN)))
        if process is not None and process.kind is not ProcessKind.ROUTER:
            try:
                await self._await(process, timeout_s)
            except BackendError as error:
                raise BackendError(
                    f"a stand-in serves for {process.name}, which is not ready itself; `shardctl up` goes on: {error}"
                ) from error
            if process.kind is ProcessKind.API:
                await redirect(self.addresses)
        await self._end_stand_in()

    async def stand_in_pid(self) -> int | None:
        seen = (await self.supervisor.processes()).get(STAND_IN)
        return seen.pid if seen else None

    async def replace(self, process: ProcessSpec) -> None:
        """In place: it ends after its last request, then starts as planned; does not wait until it is ready."""
        await self.supervisor.stop(process.name, wait=True)
        if is_launched(process):
            write_launch(process, self.folder)
        await self.supervisor.take_configuration(process.name)
        await self.supervisor.start(process.name)

    async def _prove(self, process: ProcessSpec, timeout_s: float) -> None:
        """A stand-in for the process is ready; or it is gone again, and BackendError."""
        port, operator_port = (self.addresses.port(name) for name in PORT_NAMES)
        instance = stand_in_for(process, port, operator_port)
        write_launch(instance, self.folder, for_process=process.name)
        await self.supervisor.start(STAND_IN)
        try:
            await self._await(instance, timeout_s)
        except BackendError as error:
            await self._end_stand_in()
            raise BackendError(
                f"{process.name} was not renewed and serves as before; a stand-in with its new settings: {error}"
            ) from error

    async def _end_stand_in(self) -> None:
        await self.supervisor.stop(STAND_IN, wait=True)

    async def _may_reload(self, router: ProcessSpec) -> bool:
        """False for a router that was started without a launch file: it would come back as it was. Raises BackendError
        for one that does not answer: what it has under way could not be waited for."""
        if not await readiness_facts(router):
            raise BackendError(f"{router.name} does not answer, so it cannot be renewed: `shardctl status`")
        seen = (await self.supervisor.processes()).get(router.name)
        return seen is not None and seen.pid is not None and launched_digest(seen.pid) is not None

    async def _reload(self, process: ProcessSpec, timeout_s: float) -> None:
        """By SIGHUP: it answers what it has, keeps its listening socket, and starts its new image."""
        before = await readiness_facts(process)
        write_launch(process, self.folder)
        await self.supervisor.signal(process.name, "HUP")
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_RELOAD_PAUSE_S)
            now = await readiness_facts(process)
            # Ready alone may still be the old image, which answers what it has.
            if now.get("status") == "ready" and now.get("started_at") != before.get("started_at"):
                return
        raise BackendError(
            f"{process.name} was asked to reload and is not ready after {timeout_s:.0f} s: "
            f"`shardctl logs {process.name}`"
        )

    async def _await(self, process: ProcessSpec, timeout_s: float) -> None:
        await await_processes([process], self.supervisor, self.folder, quiet, timeout_s)


def runs_otherwise(process: ProcessSpec, pid: int) -> bool:
    """Does this process of ours run with another command or other settings than are planned?"""
    return is_launched(process) and launched_digest(pid) != digest_of(process)
