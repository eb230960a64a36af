"""The control service in this process, on a stack that is a folder: its socket, its leader, its metrics."""

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from infra.backends.backend import Backend
from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from infra.backends.plan import port_names
from infra.runtime.settings import ListenSettings
from infra.runtime.shutdown import Shutdown
from infra.security.keys import generate_key_files
from shardctl.control_client import ControlClient
from shardctl.operations.plan import Kind
from shardctl.operations.resources import StackResources
from shardctl.service.app import ControlService
from shardctl.service.settings import ControlSettings
from tests.support.eventually import eventually
from tests.support.free_port import free_port


def folder_stack(
    root: Path, *, routers: int = 2, redis_url: str | None = None, ports: Mapping[str, int] | None = None
) -> LocalBackend:
    """A stack of which nothing runs, but what listens at `ports`: its record, ports and keys are made."""
    folder = StackFolder(root / "mine")
    folder.ensure()
    generate_key_files(folder.keys)
    spec = StackSpec((CellSpec("cell-1"),), routers=routers, redis_url=redis_url)
    known = ports or {}
    chosen = {name: known.get(name) or free_port() for name in port_names(spec)}
    save_record(folder.record, new_record("mine", spec).with_ports(chosen))
    return LocalBackend("mine", folder)


@asynccontextmanager
async def control_service(
    dsn: str, backend: Backend, kinds: Mapping[str, Kind[StackResources]], *, name: str = "control", **settings: Any
) -> AsyncIterator[ControlService]:
    """Serving, and leading if nobody else does."""
    service = ControlService(
        ControlSettings(
            name=name,
            dsn=dsn,
            socket=backend.control_socket.with_name(f"{name}.sock"),
            operator=ListenSettings(port=free_port()),
            **settings,
        ),
        backend,
        kinds,
    )
    shutdown = Shutdown()
    running = asyncio.create_task(service.run(shutdown))
    while not (service.settings.socket.exists() and await _port_is_settled(service)):
        assert not running.done(), running
        await asyncio.sleep(0.01)
    try:
        yield service
    finally:
        shutdown.ask()
        await running


async def leading(service: ControlService) -> int:
    """Its lease, as soon as it has one."""

    async def leads() -> bool:
        return service.leader.lease is not None

    await eventually(leads)
    assert service.leader.lease is not None
    return service.leader.lease


async def _port_is_settled(service: ControlService) -> bool:
    """The port for persons elsewhere comes after the socket: it is open, could not be opened, or is not wanted."""
    if service.settings.oidc is None or b"shardctl_oidc_port_closed 1.0" in service.metrics.render():
        return True
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", service.settings.oidc.listen.port)
    except OSError:
        return False
    writer.close()
    return True


class AsyncClient:
    """The commands' client, off this loop: the service answers in it."""

    def __init__(self, service: ControlService) -> None:
        self.client = ControlClient(service.settings.socket)

    async def get(self, path: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.client.get, path)

    async def post(self, path: str, body: object) -> dict[str, Any]:
        return await asyncio.to_thread(self.client.post, path, body)


def own_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
