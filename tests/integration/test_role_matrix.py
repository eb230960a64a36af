"""Who may call what: every endpoint of every port for operators and for persons, without a token, with each role too
low, and with the least one. The endpoints are those that the applications have; one without a call here fails.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from litestar import get

from cell.app import CellApp, create_app
from cell.operator_roles import LEAST_ROLES as OF_CELLS
from cell.operator_roles import SELF_PROVING
from cell.settings import CellSettings
from exchange.operator_roles import LEAST_ROLES as OF_THE_EXCHANGE
from infra.runtime.least_roles import OPEN, EndpointsUnnamed, LeastRoles, check_named, endpoints_of
from infra.runtime.operator_api import create_operator_app
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from infra.security.keys import generate_key_files
from infra.security.roles import Role
from shardctl.persons import Person, Way
from shardctl.service.controllers.shard_map import CellsController, MapController
from shardctl.service.controllers.users import UsersController
from shardctl.service.roles import LEAST_ROLES as OF_THE_SERVICE
from tests.support.asgi import ask_asgi
from tests.support.bare_cell import Cell
from tests.support.control_service import control_service, folder_stack
from tests.support.databases import TestDatabase
from tests.support.decisions import fence, quarantined_report, reconcile, waiting_transfer
from tests.support.exchange_process import ExchangeProcess
from tests.support.operator_tokens import bearer, operator_token
from tests.support.redis_server import redis_server
from tests.support.stack_with_a_cell import begin_map, stack_with_a_cell
from tests.support.waiting_kind import waits
from tests.support.who_says import who_says

pytestmark = pytest.mark.anyio

TAPE: Final = b"34200,1,11,100,1000000,1\n34200.1,4,11,30,1000000,1\n34200.3,3,11,70,1000000,1\n"


@dataclass(frozen=True)
class Call:
    """A request that is answered by `status` if it is let in."""

    path: str
    body: Any = None
    status: int = 200
    before: Callable[[], object] = lambda: None
    """Makes what it is about."""
    fence: int | None = None


def below(least: Role) -> list[Role]:
    return [role for role in Role if not role.may(least)]


async def prove(roles: LeastRoles, calls: Mapping[str, Call], ask: Any) -> None:
    """`ask(method, call, role)` answers with a status; without a role it sends no token."""
    assert calls.keys() == roles.keys()
    for endpoint, call in calls.items():
        method = endpoint.partition(" ")[0]
        assert await ask("OPTIONS", call, None) == 204, "it says the methods of a path, and does nothing"
        assert await ask(method, call, None) == 401, endpoint
        for role in below(roles[endpoint]):
            assert await ask(method, call, role) == 403, (endpoint, role)
        call.before()
        assert await ask(method, call, roles[endpoint]) == call.status, endpoint


@dataclass
class Scene:
    """A cell with what an operator may decide about."""

    cell: Cell
    root: psycopg.Connection[Any]
    database: TestDatabase
    user_id: uuid.UUID = field(init=False)
    report_id: int = field(init=False)
    transfers: list[uuid.UUID] = field(init=False)

    def __post_init__(self) -> None:
        self.user_id = self.cell.user(cash=100)
        self.report_id = quarantined_report(self.root)
        self.transfers = [waiting_transfer(self.root, self.user_id, key) for key in ("one", "other")]

    def fence_and_reconcile(self) -> None:
        """As a restore leaves a cell, looked at."""
        fence(self.database)
        reconcile(self.database, "equal")

    def calls(self) -> dict[str, Call]:
        user = f"/operator/v1/users/{self.user_id}"
        run = {"started_at": "2026-11-20T00:00:00Z", "venue": {"asked": False}, "events": {"asked": False}}
        shares = [f"{user}/share-transfers/{transfer}" for transfer in self.transfers]
        opening = {"received_seq": 0, "halted": [], "despite_findings": True}
        template = "/operator/v1/users/{user_id}"
        known = {"user_id": str(self.user_id), "orders": 0, "ledger": 0, "write_seq": 0}
        return {
            **{
                f"GET /operator/v1/{name}": Call(f"/operator/v1/{name}")
                for name in (
                    "summary", "rollups", "quarantine", "early-reports", "share-transfers", "reconciliations",
                    "reconciliations/event-heads", "incarnation", "incarnation/halted",
                )
            },
            "POST /operator/v1/reconciliations/comparisons": Call(
                "/operator/v1/reconciliations/comparisons", {"orders": []}
            ),
            "POST /operator/v1/checks": Call("/operator/v1/checks"),
            f"GET {template}": Call(user),
            f"GET {template}/orders": Call(f"{user}/orders"),
            f"PUT {template}/profile": Call(f"{user}/profile", {"profile": "professional"}),
            f"POST {template}/sessions/end": Call(f"{user}/sessions/end", {"begun_before_s": 1_700_000_000}),
            f"POST {template}/unrestrict": Call(f"{user}/unrestrict"),
            f"POST {template}/share-transfers/{{transfer_id}}/approve": Call(f"{shares[0]}/approve"),
            f"POST {template}/share-transfers/{{transfer_id}}/refuse": Call(f"{shares[1]}/refuse"),
            "POST /operator/v1/quarantine/{report_id}/retry": Call(
                f"/operator/v1/quarantine/{self.report_id}/retry"),
            "POST /operator/v1/reconcile": Call("/operator/v1/reconcile", run, 201),
            "POST /operator/v1/archive": Call("/operator/v1/archive", {"older_than_days": 30}),
            "POST /operator/v1/leader": Call("/operator/v1/leader", fence=3),
            "POST /operator/v1/incarnation/open": Call(
                "/operator/v1/incarnation/open", opening, before=self.fence_and_reconcile
            ),
            "POST /operator/v1/incarnation/release": Call("/operator/v1/incarnation/release", {"users": [known]}),
            f"GET {template}/size": Call(f"{user}/size"),
            f"POST {template}/attest": Call(f"{user}/attest", {}),
            **self.moves(),
        }  # fmt: skip

    def moves(self) -> dict[str, Call]:
        """Let in, and most of them refused then: the user moves in tests of their own."""
        path, whose = f"/operator/v1/moves/{uuid.uuid4()}", {"user_id": str(self.user_id)}
        bodies: dict[str, tuple[object, int]] = {
            "begin": ({**whose, "to": "cell-2", "ownership_epoch": 99}, 200),
            "arrive": ({"user_id": str(uuid.uuid4()), "from": "cell-2", "ownership_epoch": 99}, 200),
            "read": ({**whose, "place": "?"}, 422),
            "catch-up": ({**whose, "since": "?"}, 422),
            "halt": ({**whose, "halt_id": str(uuid.uuid4()), "lease_ms": 1_000, "since": "?"}, 422),
            "load": (b"", 422),
            "depart": ({**whose, "halt_id": str(uuid.uuid4()), "proof": {}}, 503),
            "activate": ({**whose, "certificate": "x"}, 503),
            "acknowledge": ({**whose, "what": "pinned"}, 409),
            "release": (whose, 200),
            "discard": (whose, 200),
        }
        steps = {
            f"POST /operator/v1/moves/{{move_id}}/{step}": Call(f"{path}/{step}", body, status)
            for step, (body, status) in bodies.items()
        }
        return {"GET /operator/v1/moves/{move_id}": Call(f"{path}?user_id={self.user_id}"), **steps}


@pytest.fixture
async def app(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[CellApp]:
    generate_key_files(tmp_path)
    postgres = PostgresSettings(dsn=cell_database.service_dsn)
    settings = CellSettings(name="cell-1", postgres=postgres, mover_dsn=cell_database.mover_dsn, keys_dir=tmp_path)
    app = create_app(settings)
    async with app.running():
        yield app


async def test_a_cells_operator_port(
    app: CellApp, cell: Cell, root: psycopg.Connection[Any], cell_database: TestDatabase, tmp_path: Path
) -> None:
    assert endpoints_of(app.operator) == OF_CELLS.keys() | OPEN | SELF_PROVING
    status, _, answered = await ask_asgi(app.operator, "POST", "/operator/v1/certificates", {"certificate": "x"})
    assert (status, answered["code"]) == (503, "MOVES_NOT_CONFIGURED"), "this process has nobody's keys"

    async def ask(method: str, call: Call, role: Role | None) -> int:
        headers = bearer(tmp_path, "cell-1", method, call.path, role, fence=call.fence) if role else {}
        return (await ask_asgi(app.operator, method, call.path, call.body, headers=headers))[0]

    await prove(OF_CELLS, Scene(cell, root, cell_database).calls(), ask)


async def test_what_an_operators_checks_found_is_kept_and_a_viewers_run_leaves_nothing(
    app: CellApp, root: psycopg.Connection[Any], tmp_path: Path
) -> None:
    path, kept = "/operator/v1/checks", "select count(*) from brokerage.ledger_checks"
    looking = {"Authorization": f"Bearer {operator_token(tmp_path, Role.VIEWER)}"}
    status, _, found = await ask_asgi(app.operator, "POST", path, headers=looking)
    assert (status, found["healthy"]) == (200, True)
    assert root.execute(kept).fetchone() == (0,)
    headers = bearer(tmp_path, "cell-1", "POST", path, Role.OPERATOR)
    assert (await ask_asgi(app.operator, "POST", path, headers=headers))[0] == 200
    assert root.execute(kept).fetchone() == (1,)


async def test_the_exchanges_operator_port(tmp_path: Path) -> None:
    """The process starts only if its endpoints are those of its table."""
    exchange = ExchangeProcess(tmp_path)
    tape = "/operator/v1/tapes?symbol=AAPL&run=r"
    calls = {
        **{f"GET /operator/v1/{name}": Call(f"/operator/v1/{name}") for name in ("summary", "orders", "faults")},
        "GET /operator/v1/tapes": Call("/operator/v1/tapes"),
        "POST /operator/v1/faults": Call("/operator/v1/faults", b"{}"),
        "POST /operator/v1/tapes": Call(tape, TAPE, 201),
    }

    async def ask(method: str, call: Call, role: Role | None) -> int:
        return exchange.operate(method, call.path, call.body or b"", role)[0]

    try:
        await prove(OF_THE_EXCHANGE, calls, ask)
    finally:
        exchange.stop()


OF_ACTS: Final = {
    endpoint: least
    for endpoint, least in OF_THE_SERVICE.items()
    if endpoint.split()[1].startswith(
        tuple(each.path.partition("{")[0] for each in (MapController, CellsController, UsersController))
    )
}
"""What the service does at once, without an operation."""


async def answer_of(app: Any, method: str, call: Call, role: Role | None) -> int:
    headers = {"X-Role": role} if role else {}
    status, _, said = await ask_asgi(app, method, call.path, call.body, headers=headers)
    assert status in (200, 204) or (said["exit_code"], said["code"]) in ((3, "FORBIDDEN"), (3, "TOKEN_INVALID")), said
    return status


@pytest.mark.parametrize("wanted", [Role.OPERATOR, Role.ADMIN])
async def test_the_control_service(control_database: TestDatabase, tmp_path: Path, wanted: Role) -> None:
    """A kind of operation may want more than the endpoint does."""
    ann, kind = Person("ann", Role.ADMIN, Way.SOCKET), waits("tests.wait", wanted)
    async with control_service(
        control_database.leader_dsn, folder_stack(tmp_path), {kind.name: kind}, approvals=frozenset({kind.name})
    ) as service:
        app = service.create_app(who_says)
        assert endpoints_of(app) == OF_THE_SERVICE.keys()
        proposal = await service.submissions.propose(kind.name, {}, person=ann, reason=None)
        number, _ = await service.submissions.begin(
            proposal, attempt=None, person=ann, reason=None, key=None, expected=None
        )
        one, template = f"/v1/operations/{number}", "/v1/operations/{number}"
        calls = {
            "GET /v1/operations": Call("/v1/operations"),
            f"GET {template}": Call(one),
            f"GET {template}/events": Call(f"{one}/events"),
            "GET /v1/schedules": Call("/v1/schedules"),
            "GET /v1/whoami": Call("/v1/whoami"),
            **{f"GET /v1/{path}": Call(f"/v1/{path}") for path in ("audit", "audit/rows", "audit/head")},
            "GET /v1/operator-tokens": Call("/v1/operator-tokens"),
            "POST /v1/operator-tokens": Call(
                "/v1/operator-tokens", {"act": "look", "target": "cell-1", "role": "viewer"}
            ),
            "POST /v1/operations": Call("/v1/operations", {"kind": kind.name, "dry_run": True}),
            f"POST {template}/resume": Call(f"{one}/resume", {}),
            f"POST {template}/approve": Call(f"{one}/approve", {}),
            f"POST {template}/cancel": Call(f"{one}/cancel", {}),
        }
        roles = {
            endpoint: wanted if endpoint.startswith("POST /v1/operations") else least
            for endpoint, least in OF_THE_SERVICE.items()
            if endpoint not in OF_ACTS
        }
        await prove(roles, calls, partial(answer_of, app))


async def test_the_control_services_acts(
    control_database: TestDatabase, cell: Cell, root: psycopg.Connection[Any], cell_database: TestDatabase,
    tmp_path: Path,
) -> None:  # fmt: skip
    scene = Scene(cell, root, cell_database)
    with redis_server() as redis, stack_with_a_cell(tmp_path, cell_database, redis.url) as backend:
        await begin_map(control_database, {scene.user_id: "cell-1"})
        async with control_service(control_database.leader_dsn, backend, {}) as service:
            app, because = service.create_app(who_says), {"reason": "why"}
            user, template = f"/v1/users/{scene.user_id}", "/v1/users/{user_id}"
            one, other = (f"{user}/share-transfers/{transfer}" for transfer in scene.transfers)
            calls = {
                "GET /v1/map": Call("/v1/map"),
                "POST /v1/map/publish": Call("/v1/map/publish", {}),
                "POST /v1/cells/{cell}/cordon": Call("/v1/cells/cell-1/cordon", because),
                "POST /v1/cells/{cell}/uncordon": Call("/v1/cells/cell-1/uncordon", because),
                "POST /v1/cells/{cell}/reports/{report}/retry": Call(
                    f"/v1/cells/cell-1/reports/{scene.report_id}/retry", because),
                "GET /v1/users": Call(f"/v1/users?named={scene.user_id}"),
                f"POST {template}/revoke": Call(f"{user}/revoke", because),
                f"POST {template}/profile": Call(f"{user}/profile", {"profile": "retail", **because}),
                f"POST {template}/unrestrict": Call(f"{user}/unrestrict", because),
                f"POST {template}/share-transfers/{{transfer}}/approve": Call(f"{one}/approve", because),
                f"POST {template}/share-transfers/{{transfer}}/refuse": Call(f"{other}/refuse", because),
            }  # fmt: skip
            await prove(OF_ACTS, calls, partial(answer_of, app))


async def test_an_endpoint_that_no_table_names_is_no_endpoint() -> None:
    """Routers, workers, relays and the service's own port have none but the open ones."""

    @get("/operator/v1/new", sync_to_thread=False)
    def new() -> dict[str, str]:
        return {}

    async def ready() -> tuple[bool, dict[str, object]]:
        return True, {}

    plain = create_operator_app(metrics=Metrics(()), ready=ready)
    assert endpoints_of(plain) == OPEN
    assert [(await ask_asgi(plain, "GET", f"/health/{name}"))[0] for name in ("live", "ready")] == [200, 200]
    with pytest.raises(EndpointsUnnamed, match="GET /operator/v1/new"):
        create_operator_app(metrics=Metrics(()), ready=ready, routes=[new])
    with pytest.raises(EndpointsUnnamed, match="GET /gone"):
        check_named(plain, {"GET /gone": Role.VIEWER}, open_ones=OPEN)
