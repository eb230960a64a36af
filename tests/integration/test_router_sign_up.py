"""Sign-up over two databases, login and refresh: a real control database, scripted cells, raw clients."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.runtime.fault_points import FaultInjected, FaultPoints
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from router.sign_up import NewUser
from shardctl.shardmap.store import open_store
from tests.support.account_cell import AccountCell
from tests.support.databases import TestDatabase
from tests.support.raw_http import Answer
from tests.support.routers import RouterUnderTest, running_router

pytestmark = pytest.mark.anyio


class World:
    def __init__(self, router: RouterUnderTest, database: TestDatabase) -> None:
        self.router = router
        self.database = database
        self.cells = {name: AccountCell(cell) for name, cell in router.cells.items()}

    async def sign_up(self, email: str, key: str, password: str = "correct horse", name: str | None = None) -> Answer:
        body = json.dumps({"email": email, "password": password, "name": name}).encode()
        return await self.router.ask("POST", "/v1/users", key=key, body=body)

    async def tokens(self, **body: str) -> Answer:
        return await self.router.ask("POST", "/v1/tokens", body=json.dumps(body).encode())

    async def rows(self, statement: Any) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.database.superuser_dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement)
            return await cursor.fetchall() if cursor.description else []


@pytest.fixture
async def world(tmp_path: Path, control_database: TestDatabase) -> AsyncIterator[World]:
    async with running_router(tmp_path, control_dsn=control_database.service_dsn) as router:
        async with open_store(control_database.owner_dsn) as store:
            await store.create_lineage()
            for name, cell in router.cells.items():
                await store.add_cell(Cell(CellId(name), api_urls=(cell.url,)), actor="test", reason="test")
            shard_map = await store.load()
        # The map file of another lineage served so far; a restart would take the control database's.
        router.router.watcher.watch.shard_map = None
        router.router.watcher._offer(shard_map, "control")
        yield World(router, control_database)


async def test_a_new_customer_gets_tokens_that_work_at_once(world: World) -> None:
    got = await world.sign_up("ann@example.com", "key-1")
    assert got.status == 201
    body = got.json()
    assert body["expires_in"] == 900
    cell_id = got.headers["x-cell"]
    account = await world.router.ask("GET", "/v1/account", token=body["access_token"])
    assert account.json() == {"user_id": body["user_id"]}
    assert uuid.UUID(body["user_id"]) in world.cells[cell_id].passwords
    assert await world.rows("select state, cell_id from control.email_claims") == [("active", cell_id)]
    stored = await world.rows("select encode(email_hash, 'escape'), idempotency_key from control.email_claims")
    assert "ann" not in str(stored)


async def test_the_same_key_and_body_is_a_replay_and_another_body_is_refused(world: World) -> None:
    first = (await world.sign_up("ann@example.com", "key-1")).json()
    again = await world.sign_up(" Ann@Example.COM ", "key-1")
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json()["user_id"] == first["user_id"]
    assert again.json()["refresh_token"] != first["refresh_token"]
    for other in (
        await world.sign_up("ann@example.com", "key-1", password="wrong horse"),
        await world.sign_up("bob@example.com", "key-1"),
        await world.sign_up("ann@example.com", "key-1", name="Ann"),
    ):
        assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    taken = await world.sign_up("ANN@example.com", "key-2")
    assert (taken.status, taken.code, taken.json()["field"]) == (409, "EMAIL_TAKEN", "email")


async def test_bad_sign_ups_claim_nothing(world: World) -> None:
    no_key = await world.router.ask("POST", "/v1/users", body=b'{"email":"a@b.c","password":"12345678"}')
    assert (no_key.status, no_key.code) == (400, "MISSING_IDEMPOTENCY_KEY")
    assert (await world.sign_up("not an email", "k")).code == "INVALID_FIELD"
    assert (await world.sign_up("a@b.c", "k", password="short")).status == 422
    assert (await world.sign_up("a@b.c", "k\u00e9" * 3)).status == 400
    for body in (b"{", b"[]", b'{"email": 5}', b"", b'{"email":"a@b.c"}'):
        assert (await world.router.ask("POST", "/v1/users", key="k", body=body)).status == 400
    typed = await world.router.ask("POST", "/v1/users", key="k", body=b"x", headers={"Content-Type": "text/plain"})
    assert typed.status in (400, 415)
    assert await world.rows("select 1 from control.email_claims") == []


async def test_racing_for_one_email_one_customer_wins(world: World) -> None:
    answers = await asyncio.gather(*(world.sign_up("ann@example.com", f"key-{i}") for i in range(12)))
    assert Counter(a.status for a in answers) == {201: 1, 409: 11}
    assert sum(len(cell.passwords) for cell in world.cells.values()) == 1


async def test_the_same_sign_up_sent_many_times_at_once_makes_one_customer(world: World) -> None:
    answers = await asyncio.gather(*(world.sign_up("ann@example.com", "key-1") for _ in range(12)))
    assert {a.status for a in answers} == {201}
    assert len({a.json()["user_id"] for a in answers}) == 1
    assert sum(len(cell.passwords) for cell in world.cells.values()) == 1


async def test_new_customers_are_spread_over_open_cells(world: World) -> None:
    for i in range(20):
        assert (await world.sign_up(f"user{i}@example.com", f"key-{i}")).status == 201
    assert [len(cell.passwords) for cell in world.cells.values()] == [10, 10]
    await world.router.cells["cell-1"].die()
    for i in range(20, 30):
        await world.sign_up(f"user{i}@example.com", f"key-{i}")
    late = [await world.sign_up(f"late{i}@example.com", f"late-{i}") for i in range(3)]
    assert {a.status for a in late} == {201}  # by now the breaker knows which cell is dead


@pytest.mark.parametrize("point", ["sign-up-claimed", "sign-up-created"])
async def test_a_crash_between_claim_and_confirmation_is_healed_by_the_retry(world: World, point: str) -> None:
    sign_ups = world.router.router.sign_ups
    sign_ups._faults = FaultPoints({"FAULT_POINTS": f"{point}=fail"})
    with pytest.raises(FaultInjected):
        await sign_ups.sign_up(NewUser("ann@example.com", "correct horse"), "key-1", "r")
    assert await world.rows("select state from control.email_claims") == [("pending",)]
    sign_ups._faults = FaultPoints({})
    taken = await world.sign_up("ann@example.com", "key-2")
    assert taken.code == "EMAIL_TAKEN"
    thief = await world.sign_up("ann@example.com", "key-1", password="wrong horse")
    healed = await world.sign_up("ann@example.com", "key-1")
    if point == "sign-up-created":
        assert (thief.status, thief.code) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert healed.status == 201
    assert sum(len(cell.passwords) for cell in world.cells.values()) == 1
    assert await world.rows("select state from control.email_claims") == [("active",)]


@pytest.mark.parametrize("point", ["sign-up-claimed", "sign-up-created"])
async def test_the_sweep_finishes_or_frees_what_a_crash_left(world: World, point: str) -> None:
    router = world.router.router
    router.sign_ups._faults = FaultPoints({"FAULT_POINTS": f"{point}=fail"})
    with pytest.raises(FaultInjected):
        await router.sign_ups.sign_up(NewUser("ann@example.com", "correct horse"), "key-1", "r")
    router.sign_ups._faults = FaultPoints({})
    await router.sweep.sweep_once()
    assert await world.rows("select state from control.email_claims") == [("pending",)]  # too young to be judged
    await world.rows("update control.email_claims set claimed_at = claimed_at - interval '11 minutes'")
    await router.sweep.sweep_once()
    if point == "sign-up-created":
        assert await world.rows("select state from control.email_claims") == [("active",)]
        assert (await world.sign_up("ann@example.com", "key-2")).code == "EMAIL_TAKEN"
    else:
        assert await world.rows("select state from control.email_claims") == []
        assert (await world.sign_up("ann@example.com", "key-2")).status == 201


async def test_the_sweep_leaves_claims_alone_while_their_cell_does_not_answer(world: World) -> None:
    router = world.router.router
    router.sign_ups._faults = FaultPoints({"FAULT_POINTS": "sign-up-created=fail"})
    with pytest.raises(FaultInjected):
        await router.sign_ups.sign_up(NewUser("ann@example.com", "correct horse"), "key-1", "r")
    await world.rows("update control.email_claims set claimed_at = claimed_at - interval '11 minutes'")
    for cell in world.router.cells.values():
        await cell.die()
    await router.sweep.sweep_once()
    assert await world.rows("select state from control.email_claims") == [("pending",)]


async def test_login_and_refresh(world: World) -> None:
    first = (await world.sign_up("ann@example.com", "key-1")).json()
    login = await world.tokens(grant_type="password", email="Ann@example.com", password="correct horse")
    assert login.status == 200
    assert set(login.json()) == {"access_token", "expires_in", "refresh_token"}
    assert (await world.router.ask("GET", "/v1/account", token=login.json()["access_token"])).status == 200
    refreshed = await world.tokens(grant_type="refresh_token", refresh_token=login.json()["refresh_token"])
    assert refreshed.status == 200
    for wrong in (
        await world.tokens(grant_type="password", email="ann@example.com", password="wrong horse"),
        await world.tokens(grant_type="password", email="nobody@example.com", password="correct horse"),
        await world.tokens(grant_type="refresh_token", refresh_token=first["refresh_token"]),
        await world.tokens(grant_type="refresh_token", refresh_token="x"),
        await world.tokens(grant_type="refresh_token", refresh_token=f"{uuid.uuid4().hex}.{'0' * 32}.x"),
    ):
        assert (wrong.status, wrong.code) in ((401, "TOKEN_INVALID"), (503, "CELL_UNAVAILABLE"))
    for malformed in (
        await world.tokens(grant_type="magic"),
        await world.tokens(grant_type="password", email="ann@example.com"),
        await world.tokens(grant_type="refresh_token"),
    ):
        assert malformed.status == 400


async def test_the_merged_document_describes_the_whole_api(world: World) -> None:
    theirs = {
        "openapi": "3.1.0",
        "paths": {"/v1/orders": {"post": {"responses": {}}}, "/internal/v1/accounts": {"post": {}}},
        "components": {"schemas": {"Order": {"type": "object"}}},
    }

    async def document(request: Any, writer: asyncio.StreamWriter) -> None:
        content = json.dumps(theirs).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content))

    for cell in world.router.cells.values():
        cell.behave = document
    merged = (await world.router.ask("GET", "/openapi.json")).json()
    assert set(merged["paths"]) == {"/v1/orders", "/v1/tokens", "/v1/users"}
    assert {"Order", "SignUpRequest", "Tokens"} <= set(merged["components"]["schemas"])
    assert (await world.router.ask("GET", "/docs")).status == 200


async def test_without_the_control_database_known_users_trade_and_refresh(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:
        cells = {name: AccountCell(cell) for name, cell in router.cells.items()}
        user_id = router.user_of("cell-2")
        cells["cell-2"].passwords[user_id] = "correct horse"
        cells["cell-2"].refresh_tokens[user_id] = token = f"{user_id.hex}.{'0' * 32}.{'x' * 43}"
        assert (await router.ask("GET", "/v1/account", token=router.token_of(user_id))).status == 200
        body = json.dumps({"grant_type": "refresh_token", "refresh_token": token}).encode()
        refreshed = await router.ask("POST", "/v1/tokens", body=body)
        assert refreshed.status == 200
        login = json.dumps({"grant_type": "password", "email": "a@b.c", "password": "12345678"}).encode()
        got = await router.ask("POST", "/v1/tokens", body=login)
        assert (got.status, got.headers["retry-after"]) == (503, "1")
        signup = json.dumps({"email": "a@b.c", "password": "12345678"}).encode()
        assert (await router.ask("POST", "/v1/users", key="k", body=signup)).status == 503


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 10_000, b'{"email":"\\ud800@b.c"}', b"\xff", b"[]", b"5"])
async def test_a_body_that_is_no_request_is_the_senders_mistake(tmp_path: Path, body: bytes) -> None:
    async with running_router(tmp_path) as router:
        for target in ("/v1/users", "/v1/tokens"):
            got = await router.ask("POST", target, key="k", body=body)
            assert (got.status, got.code) == (400, "INVALID_FIELD")


async def test_a_refresh_whose_answer_was_lost_is_asked_for_again_as_the_same_attempt(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:
        cell, attempts = router.cells["cell-1"], []
        accounts = AccountCell(cell)
        user_id = router.user_of("cell-1")
        accounts.passwords[user_id] = "correct horse"
        shown = accounts.refresh_tokens[user_id] = f"{user_id.hex}.{'0' * 32}.{'x' * 43}"

        async def lose_the_first_answer(request: Any, writer: asyncio.StreamWriter) -> None:
            attempts.append(json.loads(request.body)["attempt"])
            if len(attempts) == 1:
                writer.close()
            else:
                await accounts.behave(request, writer)

        cell.behave = lose_the_first_answer
        for _ in range(2):
            body = json.dumps({"grant_type": "refresh_token", "refresh_token": shown}).encode()
            got = await router.ask("POST", "/v1/tokens", body=body)
            assert got.status == 200
            shown = got.json()["refresh_token"]
    assert attempts[0] == attempts[1] != attempts[2]


@pytest.mark.parametrize("said", [b"{}", b"[]", b"[" * 20_000, b"\xff", b'{"refresh_token":5}', b""])
async def test_a_cell_that_says_anything_for_a_session_gives_no_tokens(tmp_path: Path, said: bytes) -> None:
    async with running_router(tmp_path) as router:

        async def babble(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said))

        router.cells["cell-1"].behave = babble
        token = f"{router.user_of('cell-1').hex}.{'0' * 32}.{'x' * 43}"
        body = json.dumps({"grant_type": "refresh_token", "refresh_token": token}).encode()
        got = await router.ask("POST", "/v1/tokens", body=body)
        assert (got.status, got.code) == (503, "OUTCOME_UNKNOWN")
