"""A revoked user's sessions end, in the cell for good, at the routers at once; never those begun afterwards."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.clock import Clock, SystemClock, TimeOrderedIds
from infra.runtime.http_client import HttpClient
from infra.runtime.settings import PostgresSettings
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from shardctl.cell_admin import CellAdmin
from shardctl.errors import Interrupted, Refused
from shardctl.operations import resources
from shardctl.operations.resources import StackResources
from shardctl.revoke import _end_sessions
from shardctl.shardmap.locate import LocatedUser
from tests.support.account_cell import AccountCell
from tests.support.asgi import ask_asgi
from tests.support.control_service import folder_stack
from tests.support.databases import TestDatabase
from tests.support.free_port import free_port
from tests.support.operator_tokens import bearer
from tests.support.routers import running_router
from tests.support.stub_cell import SeenRequest, answer, stub_cell

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse"


@dataclass
class Cell:
    app: CellApp
    keys: Path
    database: TestDatabase

    async def customer(self, user_id: uuid.UUID, path: str, **body: str) -> tuple[int, Any]:
        signer = RouteTokenSigner(load_key_ring(self.keys / ROUTE_FILE))
        token = signer.sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=int(time.time()) + 60)
        status, _, said = await ask_asgi(self.app.customer, "POST", path, body, headers={"X-Route-Token": token})
        return status, said

    async def end(self, user_id: uuid.UUID, begun_before_s: object, role: str = "operator") -> tuple[int, Any]:
        path = f"/operator/v1/users/{user_id}/sessions/end"
        headers = bearer(self.keys, "cell-1", "POST", path, role)
        body = {"begun_before_s": begun_before_s}
        status, _, said = await ask_asgi(self.app.operator, "POST", path, body, headers=headers)
        return status, said

    async def open_account(self) -> tuple[uuid.UUID, str]:
        user_id = uuid.uuid4()
        email = f"{user_id}@example.com"
        status, opened = await self.customer(user_id, "/internal/v1/accounts", email=email, password=PASSWORD)
        assert status == 201
        return user_id, opened["refresh_token"]

    async def refresh(self, user_id: uuid.UUID, token: str) -> tuple[int, Any]:
        return await self.customer(user_id, "/internal/v1/sessions/refresh", refresh_token=token)


@pytest.fixture
async def cell(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[Cell]:
    generate_key_files(tmp_path)
    postgres = PostgresSettings(dsn=cell_database.service_dsn)
    app = create_app(CellSettings(name="cell-1", postgres=postgres, keys_dir=tmp_path))
    async with app.running():
        yield Cell(app, tmp_path, cell_database)


async def test_sessions_from_before_end_and_those_begun_after_it_stay(cell: Cell) -> None:
    user_id, token = await cell.open_account()
    other, others_token = await cell.open_account()
    status, begun = await cell.customer(user_id, "/internal/v1/sessions", password=PASSWORD)
    assert status == 200
    assert await cell.end(user_id, int(time.time()) - 60) == (
        200,
        {"user_id": str(user_id), "begun_before_s": int(time.time()) - 60, "ended": 0},
    )
    until_s = int(time.time()) + 5
    assert (await cell.end(user_id, until_s))[1]["ended"] == 2
    for spent in (token, begun["refresh_token"]):
        status, problem = await cell.refresh(user_id, spent)
        assert (status, problem["code"]) == (401, "TOKEN_EXPIRED")
    assert (await cell.end(user_id, until_s))[1]["ended"] == 0
    status, again = await cell.customer(user_id, "/internal/v1/sessions", password=PASSWORD)
    assert status == 200
    with psycopg.connect(cell.database.superuser_dsn) as root:  # the call that comes late
        root.execute(
            "update brokerage.refresh_families set created_at = now() + interval '10 s' where ended_at is null"
        )
    assert (await cell.end(user_id, until_s))[1]["ended"] == 0
    assert (await cell.refresh(user_id, again["refresh_token"]))[0] == 200
    assert (await cell.refresh(other, others_token))[0] == 200


async def test_only_an_operator_ends_sessions_and_only_where_the_user_is(cell: Cell) -> None:
    user_id, token = await cell.open_account()
    now_s = int(time.time())
    assert (await cell.end(user_id, now_s, role="auditor"))[0] == 403
    assert (await cell.end(uuid.uuid4(), now_s))[0] == 404
    for wrong in (0, -1, 10**15, "soon", None):
        assert (await cell.end(user_id, wrong))[0] == 422
    with psycopg.connect(cell.database.superuser_dsn, autocommit=True) as root:
        move = "update brokerage.users set owner_state = %s, lease_ends_at = now() + interval '1 hour'"
        root.execute(move, ["halted"])
        status, problem = await cell.end(user_id, now_s + 5)
        assert (status, problem["code"]) == (503, "USER_HALTED")
        root.execute(move, ["departed"])
        status, problem = await cell.end(user_id, now_s + 5)
        assert (status, problem["code"]) == (421, "MISDIRECTED")
        root.execute(move, ["active"])
    assert (await cell.refresh(user_id, token))[0] == 200


async def test_a_router_refuses_the_sessions_of_a_revoked_user_before_their_cell_is_told(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:
        accounts = AccountCell(router.cells["cell-1"])
        user_id, new_family = router.user_of("cell-1"), TimeOrderedIds(SystemClock())

        async def refresh(family: uuid.UUID) -> tuple[int, str]:
            token = f"{user_id.hex}.{family.hex}.{'x' * 43}"
            accounts.passwords[user_id], accounts.refresh_tokens[user_id] = PASSWORD, token
            body = json.dumps({"grant_type": "refresh_token", "refresh_token": token}).encode()
            got = await router.ask("POST", "/v1/tokens", body=body)
            return got.status, got.code if got.status != 200 else ""

        family = new_family()
        assert (await refresh(family))[0] == 200
        router.router.revoked._merge({user_id: int(time.time()) + 5})
        assert await refresh(family) == (401, "TOKEN_INVALID")
        assert (await refresh(TimeOrderedIds(later(60))()))[0] == 200  # begun after it
        assert (await refresh(uuid.UUID(int=0)))[0] == 200  # says nothing of its time: the cell judges


def later(seconds: float) -> Clock:
    class Later(SystemClock):
        def now(self) -> Any:
            return super().now() + timedelta(seconds=seconds)

    return Later()


async def test_an_operator_learns_what_is_done_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = LocatedUser(uuid.uuid4(), 1, "cell-1", "open", False, 1, ())

    def ask_at(url: str) -> None:
        async def token(_: str) -> str:
            return "token"

        @asynccontextmanager
        async def admin(*_: object) -> AsyncIterator[CellAdmin]:
            async with HttpClient() as http:
                yield CellAdmin(http, {"cell-1": (url,)}, token)

        monkeypatch.setattr(resources, "open_cell_admin", admin)

    def because(reason: str) -> StackResources:
        return StackResources(folder_stack(tmp_path), SystemClock(), "", None, "ann", reason)

    ask_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Interrupted, match=r"are void, but .* run it again: `shardctl users revoke .* 'a lost phone'`"):
        await _end_sessions(because("a lost phone"), user, 1)
    generate_key_files(tmp_path)
    async with stub_cell("cell-1", load_key_ring(tmp_path / ROUTE_FILE)) as cell:
        ask_at(cell.url)

        async def halted(_: SeenRequest, writer: Any) -> None:
            writer.write(answer(503, {"code": "USER_HALTED", "detail": "the account is being moved", "status": 503}))

        cell.behave = halted
        with pytest.raises(Refused, match=r"are void, but .*USER_HALTED.* run it again"):
            await _end_sessions(because("x"), user, 1)
