"""The control service and commands of other releases: each answer tells the release, another wire is not let in, and a
command that meets a restart waits for it. A real service on its socket."""

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.backends.local.backend import LocalBackend
from shardctl.control_client import ControlClient
from shardctl.control_patience import PatientControl
from shardctl.errors import NotReachable
from shardctl.operations.catalog import KINDS
from shardctl.release import HEADER, WIRE, own_release, parse_release
from shardctl.service.app import ControlService
from tests.support.control_service import control_service
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually

pytestmark = pytest.mark.anyio
OLDER, NEWER = f"0.0.1; wire=1; build={'a' * 12}", f"9.9.9; wire={WIRE + 1}; build={'a' * 12}"


@pytest.fixture
async def service(control_database: TestDatabase, backend: LocalBackend) -> AsyncIterator[ControlService]:
    async with control_service(control_database.leader_dsn, backend, KINDS) as running:
        yield running


def ask(path: Path, target: str, headers: dict[str, str]) -> tuple[int, str | None, dict[str, Any]]:
    """Status, the release's header, the document."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader(HEADER), json.loads(answer.read())
    finally:
        connection.close()


async def test_every_answer_tells_the_release_and_another_wire_is_not_let_in(service: ControlService) -> None:
    path = service.settings.socket
    for target, status in (("/v1/operations", 200), ("/v1/operations/7", 422), ("/nowhere", 404)):
        for headers in (
            {},
            {HEADER: own_release().header()},
            {HEADER: OLDER},
            {HEADER: "nonsense"},
        ):
            answered, told, _ = await asyncio.to_thread(ask, path, target, headers)
            assert (answered, parse_release(told)) == (status, own_release())
    answered, told, document = await asyncio.to_thread(ask, path, "/v1/operations", {HEADER: NEWER})
    assert (answered, document["code"], document["exit_code"]) == (426, "OTHER_WIRE", 3)
    assert parse_release(told) == own_release()


async def test_a_command_that_meets_a_restart_waits_for_it(
    control_database: TestDatabase, backend: LocalBackend
) -> None:
    path, notes = backend.control_socket, list[str]()
    patient = PatientControl(ControlClient(path), runs=lambda: True, waiting=notes.append, skewed=notes.append)
    async with control_service(control_database.leader_dsn, backend, KINDS):
        assert await asyncio.to_thread(patient.get, "/v1/operations") == {"items": []}
        assert notes == []
    with pytest.raises(NotReachable):
        await asyncio.to_thread(ControlClient(path).get, "/v1/operations")
    waiting = asyncio.create_task(asyncio.to_thread(patient.get, "/v1/operations"))

    async def has_been_told() -> bool:
        return bool(notes)

    await eventually(has_been_told)
    path.unlink()
    async with control_service(control_database.leader_dsn, backend, KINDS):
        assert await waiting == {"items": []}
    assert len(notes) == 1
