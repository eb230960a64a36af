"""A kind that wants a second person gets one: who asked cannot approve, over whichever connection they come back."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from infra.security.roles import Role
from shardctl.control_client import ControlClient, RemoteService
from shardctl.errors import Blocked, NotAllowed, ShardctlError
from tests.support.control_service import AsyncClient, control_service, folder_stack, own_name
from tests.support.databases import TestDatabase
from tests.support.free_port import free_port
from tests.support.oidc_issuer import AUDIENCE, Issuer, oidc_issuer
from tests.support.waiting_kind import waits

pytestmark = pytest.mark.anyio

PEOPLE: Final = {"ann": ["lead"], "bob": ["lead"], "otto": ["run"], "vera": ["look"]}
ROLES: Final = {"lead": "admin", "run": "operator", "look": "viewer"}
KIND: Final = waits("tests.wait", Role.ADMIN)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with oidc_issuer(PEOPLE) as running:
        yield running


@dataclass
class Doors:
    """The service, by its socket and by its URL."""

    socket: AsyncClient
    url: str
    issuer: Issuer

    async def as_person(self, name: str, algorithm: str, path: str, body: Any) -> dict[str, Any]:
        """Each time over a connection of its own."""
        token = await asyncio.to_thread(self.issuer.token, name, algorithm)
        return await asyncio.to_thread(ControlClient(RemoteService(self.url, token)).post, path, body)

    async def asked_by(self, name: str | None) -> int:
        """A new operation, from the socket or from a person elsewhere."""
        order = {"kind": KIND.name, "idempotency_key": f"{name} {time.monotonic_ns()}"}
        if name is None:
            begun = await self.socket.post("/v1/operations", order)
        else:
            begun = await self.as_person(name, "RS256", "/v1/operations", order)
        return int(begun["operation_id"])


@pytest.fixture
async def doors(control_database: TestDatabase, tmp_path: Path, issuer: Issuer) -> AsyncIterator[Doors]:
    listen = free_port()
    oidc = {"issuer": issuer.url, "audience": AUDIENCE, "roles": ROLES, "listen": {"port": listen}}
    async with control_service(
        control_database.leader_dsn,
        folder_stack(tmp_path),
        {KIND.name: KIND},
        oidc=oidc,
        approvals=frozenset({KIND.name}),
    ) as service:
        yield Doors(AsyncClient(service), f"http://127.0.0.1:{listen}", issuer)


async def test_nobody_approves_what_they_asked_for(doors: Doors) -> None:
    mine = await doors.asked_by(None)
    approve = f"/v1/operations/{mine}/approve"
    again = ControlClient(doors.socket.client._service)  # another connection of the same user
    with pytest.raises(Blocked, match=f"asked for by {own_name()}"):
        await asyncio.to_thread(again.post, approve, {})
    for name in ("vera", "otto"):
        with pytest.raises(NotAllowed, match=r"needs the role (operator|admin), and oidc:"):
            await doors.as_person(name, "RS256", approve, {})
    assert (await doors.socket.get(f"/v1/operations/{mine}"))["state"] == "awaiting_approval"
    assert (await doors.as_person("ann", "RS256", approve, {"reason": "seen"}))["state"] == "pending"
    assert (await doors.socket.get(f"/v1/operations/{mine}"))["approved_by"] == "oidc:ann"
    await doors.socket.post(f"/v1/operations/{mine}/cancel", {})


async def test_a_person_with_two_tokens_is_one_person(doors: Doors) -> None:
    hers = await doors.asked_by("ann")
    approve = f"/v1/operations/{hers}/approve"
    for algorithm in ("RS256", "ES256", "EdDSA"):
        with pytest.raises(Blocked, match="asked for by oidc:ann: another person"):
            await doors.as_person("ann", algorithm, approve, {})
    found = await doors.socket.get(f"/v1/operations/{hers}")
    assert (found["actor"], found["state"], found["approved_by"]) == ("oidc:ann", "awaiting_approval", None)
    assert (await doors.as_person("bob", "RS256", approve, {}))["state"] == "pending"
    with pytest.raises(ShardctlError):
        await doors.as_person("otto", "RS256", f"/v1/operations/{hers}/cancel", {})
