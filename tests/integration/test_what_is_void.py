"""What was believed once is not believed for ever: every memory of a verified token ends with its key, with the
revocation of its user, with its map, and no token lives longer than the norm, whatever it says of itself.

The first test finds the places that believe tokens and the containers that remember what was believed. Whoever adds
one adds it here, together with a case of `MEMORIES` that shows how it forgets.
"""

import ast
import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from litestar import get

from cell.ownership.guard import RouteGuard
from infra.backends.checkout import project_root
from infra.runtime.http_client import HttpClient
from infra.runtime.operator_api import Operators, create_operator_app
from infra.runtime.problem import Problem
from infra.runtime.telemetry import Metrics
from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import (
    CUSTOMER_SIGNING_FILE,
    OPERATOR_SIGNING_FILE,
    OPERATOR_VERIFY_FILE,
    ROUTE_FILE,
    FollowedRing,
    follow_key_ring,
    follow_verify_ring,
    generate_key_files,
    load_key_ring,
    load_signing_ring,
)
from infra.security.operator_token import sign_operator_token
from infra.security.roles import Role
from infra.security.rotation import Rotated, activate_key, add_key, drop_old_keys, list_keys
from infra.security.route_token import RouteTokenSigner
from infra.topology.snapshot import encode_map
from tests.support.app_server import app_server
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.raw_http import Answer
from tests.support.router_process import router_processes
from tests.support.routers import RouterUnderTest, map_of, running_router
from tests.support.stub_cell import SeenRequest, answer

pytestmark = pytest.mark.anyio
USER: Final = uuid.UUID("00000000-0000-4000-8000-000000000001")
TEN_YEARS_S: Final = 10 * 365 * 86_400
PACKAGES: Final = ("cell", "router", "exchange", "shardctl", "infra/runtime", "aggregator")
BELIEVING: Final = {
    "CustomerTokenVerifier", "RouteTokenVerifier", "verify_operator_token", "verify_text", "Revocations",
}  # fmt: skip
BELIEVERS: Final = {
    "cell/ownership/guard.py": "every route token; remembered",
    "infra/runtime/operator_api.py": "every operator token, each time anew",
    "router/app.py": "makes the verifier",
    "router/identify.py": "every access token; remembered",
    "router/revoked.py": "the revocations themselves; they only grow",
}
BELIEVED: Final = {
    "Caller",
    "Route",
    "CustomerClaims",
    "RouteClaims",
    "OperatorClaims",
    "Tunnel",
    "Waiter",
    "UserQueue",
}
"""What somebody is after their token was verified, and what holds on to that."""
REMEMBERED: Final = {
    "cell/ownership/guard.py:_verified": "guard",
    "router/identify.py:_routes": "routes",
    "router/hold.py:queues": "held write",
    "router/hold.py:waiters": "held write",
    "router/tunnel_registry.py:_routes": "open stream",
}


def test_every_place_that_believes_a_token_is_known_here() -> None:
    believers, remembered = set(), set()
    for package in PACKAGES:
        for path in (project_root() / package).rglob("*.py"):
            name = str(path.relative_to(project_root()))
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and BELIEVING & {alias.name for alias in node.names}:
                    believers.add(name)
                if isinstance(node, ast.AnnAssign) and _is_container_of_believed(node.annotation):
                    target = node.target
                    remembered.add(
                        f"{name}:{target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)}"
                    )
    assert believers == set(BELIEVERS)
    assert remembered == set(REMEMBERED)
    assert set(REMEMBERED.values()) <= {memory.__name__.replace("_", " ") for memory in MEMORIES}


def _is_container_of_believed(annotation: ast.expr) -> bool:
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return bool(names & {"dict", "list", "set", "deque", "OrderedDict", "Mapping"}) and bool(names & BELIEVED)


# ---- memories, each with what takes away its ground ------------------------------------------------------------------


@dataclass
class BelievingServices:
    """A router with two scripted cells, and the guard of a cell, all by the same key files."""

    router: RouterUnderTest
    guard: RouteGuard

    @property
    def keys(self) -> Path:
        return self.router.keys

    def look_at_the_files(self) -> None:
        """Rings look once a second; nobody waits for that here."""
        for ring in (*self.router.router._rings.values(), self.guard._verifier._ring):
            assert isinstance(ring, FollowedRing)
            ring._look_at_s = 0.0

    def drop(self, ring: Rotated) -> None:
        rotate(self.keys, ring)
        self.look_at_the_files()

    def revoke(self, user_id: uuid.UUID) -> None:
        self.router.router.revoked._merge({user_id: int(time.time()) + 1})

    def move(self, user_id: uuid.UUID) -> None:
        urls = {name: (cell.url,) for name, cell in self.router.cells.items()}
        self.router.router.watcher._offer(map_of(urls, epoch=2, pins=[(user_id, "cell-2")]), "redis")


def rotate(keys: Path, ring: Rotated) -> None:
    """As the command does it when a key leaked, without its pauses."""
    activate_key(keys, ring, add_key(keys, ring), int(time.time()))
    assert drop_old_keys(keys, ring, int(time.time()), kept_s=0)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[BelievingServices]:
    async with running_router(tmp_path) as router:
        yield BelievingServices(router, RouteGuard(follow_key_ring(router.keys / ROUTE_FILE), "cell-1", time.time))


async def guard(services: BelievingServices) -> None:
    signer = RouteTokenSigner(load_key_ring(services.keys / ROUTE_FILE))
    token = signer.sign(user_id=USER, cell_id="cell-1", epoch=1, expires_at_s=int(time.time()) + 60)
    assert services.guard.identify(token).user_id == services.guard.identify(token).user_id == USER
    services.drop(Rotated.ROUTE)
    with pytest.raises(Problem, match="401"):
        services.guard.identify(token)


async def routes(services: BelievingServices) -> None:
    ask, user_id = services.router.ask, services.router.user_of("cell-1")
    token = services.router.token_of(user_id)

    async def account(token: str) -> Answer:
        return await ask("GET", "/v1/account", token=token)

    for _ in range(2):
        assert (await account(token)).json()["cell"] == "cell-1"
    services.move(user_id)
    assert (await account(token)).json()["cell"] == "cell-2"
    signed_before = services.router.cells["cell-2"].seen[-1].header("x-route-token")
    services.drop(Rotated.ROUTE)
    assert (await account(token)).status == 200
    signed_after = services.router.cells["cell-2"].seen[-1].header("x-route-token")
    assert signed_before is not None
    assert signed_after is not None
    assert signed_after.partition(".")[0] != signed_before.partition(".")[0]
    services.revoke(user_id)
    assert (await account(token)).code == "TOKEN_INVALID"
    other = services.router.token()
    assert (await account(other)).status == 200
    services.drop(Rotated.CUSTOMER)
    assert (await account(other)).code == "TOKEN_INVALID"


async def held_write(services: BelievingServices) -> None:
    """Nothing of it has been done, so it ends as if it came only now."""
    for void in (services.revoke, lambda _: services.drop(Rotated.CUSTOMER)):
        user_id = services.router.user_of("cell-1")
        token, asked = services.router.token_of(user_id), asyncio.Event()

        async def halted(
            _: SeenRequest, writer: asyncio.StreamWriter, user_id: uuid.UUID = user_id, void: Any = void, e: Any = asked
        ) -> None:
            if e.is_set():
                writer.write(answer(201, {"order": "placed by a token that was void"}))
                return
            e.set()
            writer.write(answer(503, {"code": "USER_HALTED", "status": 503}))
            void(user_id)  # before the router has read this answer

        services.router.cells["cell-1"].behave = halted
        got = await services.router.ask("POST", "/v1/orders", token=token, key="k", body=b"{}")
        assert asked.is_set()
        assert (got.status, got.code) == (401, "TOKEN_INVALID")


async def open_stream(services: BelievingServices) -> None:
    async def accept(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")

    services.router.cells["cell-1"].behave = accept
    for void in (services.revoke, lambda _: services.drop(Rotated.CUSTOMER)):
        user_id = services.router.user_of("cell-1")
        token = services.router.token_of(user_id)
        reader, writer = await asyncio.open_connection("127.0.0.1", services.router.port)
        lines = [
            "GET /v1/stream HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
        ]  # fmt: skip
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            void(user_id)
            assert await reader.read() == b"\x88\x02\x03\xf0"  # 1008: policy violation
        writer.close()


MEMORIES: Final[tuple[Callable[[BelievingServices], Awaitable[None]], ...]] = (guard, routes, held_write, open_stream)


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.__name__)
async def test_a_memory_ends_with_what_justified_it(
    services: BelievingServices, memory: Callable[[BelievingServices], Awaitable[None]]
) -> None:
    await memory(services)


# ---- with processes --------------------------------------------------------------------------------------------------


async def test_in_processes_a_dropped_key_is_void_and_nobody_else_notices(
    cell_database: TestDatabase, tmp_path: Path
) -> None:
    keys, user_id = tmp_path / "keys", uuid.uuid4()
    generate_key_files(keys)
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        connection.execute("select open_account_v1(%s, 1, 'professional', 'a@example.com', null, 'x')", [user_id])
    stolen = load_key_ring(keys / ROUTE_FILE)
    with app_server(cell_database, keys) as server:
        (tmp_path / "first.map").write_bytes(encode_map(map_of({"cell-1": (server.url,)})))
        with router_processes(1, tmp_path, keys, tmp_path / "first.map") as (router,):
            async with HttpClient(connections_per_host=4) as http:
                stack = Stack(
                    http, server.url, server.operator_url, f"http://127.0.0.1:{router.port}", router.readiness
                )
                await eventually(stack.is_ready)
                await _play(stack, stolen, keys, user_id)


@dataclass
class Stack:
    http: HttpClient
    cell_url: str
    operator_url: str
    router_url: str
    router_facts: Callable[[], Any]

    async def is_ready(self) -> bool:
        try:
            return (await self.http.request("GET", f"{self.operator_url}/health/ready", timeout_s=2)).status == 200
        except Exception:  # not yet
            return False

    async def order(self, url: str, **headers: str) -> int:
        body = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "99.00"}
        sent = {"Content-Type": "application/json", "X-Idempotency-Key": uuid.uuid4().hex, **headers}
        got = await self.http.request(
            "POST", f"{url}/v1/orders", timeout_s=10, headers=sent, body=json.dumps(body).encode()
        )
        return got.status

    async def at_cell(self, token: str) -> int:
        return await self.order(self.cell_url, **{"X-Route-Token": token})

    async def at_router(self, token: str) -> int:
        return await self.order(self.router_url, Authorization=f"Bearer {token}")

    async def held(self, file: str) -> set[frozenset[str]]:
        """What the processes say that they hold: once each holds the same, nothing older is believed."""
        cell = json.loads((await self.http.request("GET", f"{self.operator_url}/health/ready", timeout_s=2)).body)
        router = await asyncio.to_thread(self.router_facts)
        return {frozenset(facts["keys"][file]) for facts in (cell, router) if file in facts["keys"]}


async def _play(stack: Stack, stolen: Any, keys: Path, user_id: uuid.UUID) -> None:
    def forged(lives_s: int) -> str:
        ends_at_s = int(time.time()) + lives_s
        return RouteTokenSigner(stolen).sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=ends_at_s)

    customers = CustomerTokenSigner(load_signing_ring(keys / CUSTOMER_SIGNING_FILE))
    access = customers.sign(user_id, int(time.time()))
    too_long = CustomerTokenSigner(load_signing_ring(keys / CUSTOMER_SIGNING_FILE), ttl_s=TEN_YEARS_S)
    headers = {"Authorization": f"Bearer {access}", "X-Idempotency-Key": "cash", "Content-Type": "application/json"}
    deposit = await stack.http.request(
        "POST", f"{stack.router_url}/v1/deposits", timeout_s=10, headers=headers, body=b'{"amount": "100000"}'
    )
    assert deposit.status == 201

    # A norm of its own, while the key still stands.
    assert await stack.at_cell(forged(TEN_YEARS_S)) == 401
    assert await stack.at_router(too_long.sign(user_id, int(time.time()))) == 401
    token = forged(280)
    assert [await stack.at_cell(token), await stack.at_cell(token), await stack.at_router(access)] == [201, 201, 201]

    # The command's steps; nobody honest is refused at any of them.
    async def everyone_holds(ring: Rotated, file: str) -> None:
        wanted = {frozenset(row.kid for row in list_keys(keys, ring))}

        async def same() -> bool:
            assert await stack.at_router(access) == 201
            return await stack.held(file) == wanted

        await eventually(same)

    kid = add_key(keys, Rotated.ROUTE)
    await everyone_holds(Rotated.ROUTE, ROUTE_FILE)
    activate_key(keys, Rotated.ROUTE, kid, int(time.time()))

    async def router_signs_with_it() -> bool:
        assert await stack.at_router(access) == 201
        return bool((await asyncio.to_thread(stack.router_facts))["keys"][ROUTE_FILE][0] == kid)

    await eventually(router_signs_with_it)
    assert await stack.at_cell(token) == 201
    drop_old_keys(keys, Rotated.ROUTE, int(time.time()), kept_s=0)
    await everyone_holds(Rotated.ROUTE, ROUTE_FILE)
    assert await stack.at_cell(token) == 401
    assert await stack.at_cell(forged(60)) == 401
    assert await stack.at_router(access) == 201

    # The customers' ring: they log in again, and what the dropped key signs is nobody's.
    activate_key(keys, Rotated.CUSTOMER, add_key(keys, Rotated.CUSTOMER), int(time.time()))
    drop_old_keys(keys, Rotated.CUSTOMER, int(time.time()), kept_s=0)
    wanted = {frozenset(row.kid for row in list_keys(keys, Rotated.CUSTOMER))}

    async def router_holds() -> bool:
        return await stack.held("customer-verify.json") == wanted

    await eventually(router_holds)
    assert await stack.at_router(access) == 401
    assert await stack.at_router(customers.sign(user_id, int(time.time()))) == 401


async def test_an_operators_token_ends_with_its_key_and_within_the_norm(tmp_path: Path) -> None:
    generate_key_files(tmp_path)
    ring = follow_verify_ring(tmp_path / OPERATOR_VERIFY_FILE)
    stolen, now_s = load_signing_ring(tmp_path / OPERATOR_SIGNING_FILE), int(time.time())

    @get("/operator/v1/x", sync_to_thread=False)
    def x() -> dict[str, str]:
        return {}

    async def ready() -> tuple[bool, dict[str, object]]:
        return True, {}

    operators = Operators("x", ring, {"GET /operator/v1/x": Role.VIEWER}, time.time)
    app = create_operator_app(metrics=Metrics(()), ready=ready, routes=[x], operators=operators)

    async def asked(token: str) -> int:
        return (await ask_asgi(app, "GET", "/operator/v1/x", headers={"Authorization": f"Bearer {token}"}))[0]

    def signed(lives_s: int) -> str:
        return sign_operator_token(stolen, subject="ann", role=Role.OPERATOR, now_s=now_s, lives_s=lives_s)

    assert [await asked(signed(60)), await asked(signed(3_600)), await asked(signed(TEN_YEARS_S))] == [200, 200, 401]
    rotate(tmp_path, Rotated.OPERATOR)
    ring._look_at_s = 0.0
    assert await asked(signed(60)) == 401
