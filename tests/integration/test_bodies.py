"""One strict decoder and one contract for every body that enters anywhere.

The routes are those of the applications themselves: one that is added is missing from `SHAPES` until somebody says what
its body looks like, or that it takes none.
"""

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.routes import HTTPRoute

from cell.app import create_app
from cell.settings import CellSettings
from exchange.app import CONTROLLERS
from infra.runtime.settings import PostgresSettings
from infra.security.keys import ROUTE_FILE, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.operator_tokens import bearer
from tests.support.routers import running_router

pytestmark = pytest.mark.anyio
ANY_ID: Final = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Shape:
    """A body that is taken, and how it is spoilt: the field whose absence is named, and one of another type."""

    good: dict[str, Any]
    missing: str
    """`body` where no field alone is required."""
    wrong: tuple[str, Any]


_ORDER: Final = Shape(
    {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "99"}, "side", ("symbol", 5)
)
OF_MOVES: Final[Mapping[str, Mapping[str, Any]]] = {
    "begin": {"to": "cell-2", "ownership_epoch": 99},
    "arrive": {"from": "cell-2", "ownership_epoch": 99},
    "read": {},
    "catch-up": {"since": "x"},
    "halt": {"halt_id": ANY_ID, "lease_ms": 1_000, "since": "x"},
    "depart": {"halt_id": ANY_ID, "proof": {}},
    "activate": {"certificate": "x"},
    "release": {},
    "discard": {},
    "acknowledge": {"what": "pinned"},
}
"""Bodies of a move's steps, beside the user."""
SHAPES: Final[dict[tuple[str, str, str], Shape]] = {
    ("customer", "POST", "/v1/orders"): _ORDER,
    ("customer", "POST", "/v1/orders/preview"): _ORDER,
    ("customer", "PATCH", "/v1/orders/{order_id}"): Shape({"qty": "2"}, "body", ("time_in_force", 5)),
    ("customer", "POST", "/v1/deposits"): Shape({"amount": "5"}, "amount", ("amount", None)),
    ("customer", "POST", "/v1/share-transfers"): Shape(
        {"symbol": "AAPL", "qty": "1", "unit_cost": "1"}, "qty", ("symbol", {})
    ),
    ("customer", "POST", "/internal/v1/accounts"): Shape(
        {"email": "a@b.example", "password": "correct horse"}, "password", ("email", 5)
    ),
    ("customer", "POST", "/internal/v1/sessions"): Shape({"password": "x"}, "password", ("password", None)),
    ("customer", "POST", "/internal/v1/sessions/refresh"): Shape(
        {"refresh_token": "x"}, "refresh_token", ("refresh_token", [1])
    ),
    ("operator", "PUT", "/operator/v1/users/{user_id}/profile"): Shape(
        {"profile": "retail"}, "profile", ("profile", 1)
    ),
    ("operator", "POST", "/operator/v1/users/{user_id}/sessions/end"): Shape(
        {"begun_before_s": 5}, "begun_before_s", ("begun_before_s", "5")
    ),
    ("operator", "POST", "/operator/v1/archive"): Shape({"older_than_days": 90}, "older_than_days", ("place", 5)),
    ("operator", "POST", "/operator/v1/incarnation/open"): Shape(
        {"received_seq": 7, "halted": [ANY_ID]}, "received_seq", ("received_seq", "7")
    ),
    ("operator", "POST", "/operator/v1/incarnation/release"): Shape(
        {"users": [{"user_id": ANY_ID, "orders": 0, "ledger": 0, "write_seq": 0}]}, "users", ("users", {})
    ),
    ("operator", "POST", "/operator/v1/certificates"): Shape({"certificate": "x"}, "certificate", ("certificate", 5)),
    **{
        ("operator", "POST", f"/operator/v1/moves/{{move_id}}/{step}"): Shape(
            {"user_id": ANY_ID, **more}, "user_id", ("user_id", 5)
        )
        for step, more in OF_MOVES.items()
    },
    ("operator", "POST", "/operator/v1/reconcile"): Shape(
        {
            "started_at": "2026-01-01T00:00:00Z",
            "venue": {"asked": False, "reason": "it is closed"},
            "events": {"asked": True, "sample": [{"kind": "missing"}]},
        },
        "started_at",
        ("started_at", 5),
    ),
    ("operator", "POST", "/operator/v1/reconciliations/comparisons"): Shape(
        {
            "orders": [
                {
                    "order_id": ANY_ID,
                    "session": "cell-1",
                    "open": True,
                    "cum_qty": 0,
                    "cum_cost": "0",
                    "executions": 0,
                }
            ]
        },
        "orders",
        ("orders", {}),
    ),
    ("router", "POST", "/v1/users"): Shape({"email": "a@b.example", "password": "correct horse"}, "email", ("name", 5)),
    ("router", "POST", "/v1/tokens"): Shape(
        {"grant_type": "password", "email": "a@b.example", "password": "x"}, "password", ("email", 5)
    ),
    ("exchange", "POST", "/operator/v1/faults"): Shape({"latency_ms": 5}, "", ("latency_ms", "5")),
}
NO_BODY: Final = {
    ("customer", "DELETE", "/v1/orders/{order_id}"),
    ("customer", "DELETE", "/v1/orders/by-client-order-id/{client_order_id}"),
    ("operator", "POST", "/operator/v1/checks"),
    ("operator", "POST", "/operator/v1/leader"),
    ("operator", "POST", "/operator/v1/users/{user_id}/unrestrict"),
    ("operator", "POST", "/operator/v1/quarantine/{report_id}/retry"),
    ("operator", "POST", "/operator/v1/users/{user_id}/share-transfers/{transfer_id}/approve"),
    ("operator", "POST", "/operator/v1/users/{user_id}/share-transfers/{transfer_id}/refuse"),
    ("operator", "POST", "/operator/v1/users/{user_id}/attest"),  # an empty object
    ("operator", "POST", "/operator/v1/moves/{move_id}/load"),  # a frame of rows, judged by its reader
    ("exchange", "POST", "/operator/v1/tapes"),  # a file: lines of a tape, judged by its reader
}
Ask = Callable[[str, str, bytes, str], Awaitable[tuple[int, Any]]]


def mutating(port: str, app: Litestar) -> set[tuple[str, str, str]]:
    return {
        (port, method, "/".join(_plain(part) for part in route.path_format.rstrip("/").split("/")))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods & {"POST", "PUT", "PATCH", "DELETE"}
    }


def _plain(part: str) -> str:
    return f"{{{part[1:-1].partition(':')[0]}}}" if part.startswith("{") else part


def spoilt(shape: Shape) -> Iterable[tuple[str, bytes, int, str]]:
    """What is sent, and the status and field that answer it."""
    good = json.dumps(shape.good)
    first = next(iter(shape.good))
    twice = f'{{"{first}": {json.dumps(shape.good[first])}, {good[1:]}'
    yield "given twice", twice.encode(), 400, first
    yield "unknown", json.dumps({**shape.good, "no_such": 1}).encode(), 422, "no_such"
    yield "wrong type", json.dumps({**shape.good, shape.wrong[0]: shape.wrong[1]}).encode(), 422, shape.wrong[0]
    if shape.missing:
        without = {name: value for name, value in shape.good.items() if name != shape.missing}
        yield "missing", json.dumps({} if shape.missing == "body" else without).encode(), 400, shape.missing
    yield "array", b"[]", 422, "body"
    yield "text", b'"x"', 422, "body"
    for name, raw in {
        "empty": b"",
        "half": good.encode()[:-1],
        "two": good.encode() * 2,
        "byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "UTF-16": good.encode("utf-16"),
        "no UTF-8": good.encode()[:-1] + b', "no_such": "\xff"}',
        "half a surrogate pair": good.encode()[:-1] + b', "\\ud800": 1}',
        "NaN": good.encode()[:-1] + b', "no_such": NaN}',
        "infinity": good.encode()[:-1] + b', "no_such": -Infinity}',
        "nested": good.encode()[:-1] + b', "no_such": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "comment": b"/* */" + good.encode(),
    }.items():
        yield name, raw, 400, "body"


@pytest.fixture
async def ports(
    cell_database: TestDatabase, exchange: ExchangeProcess, tmp_path: Path
) -> AsyncIterator[tuple[dict[str, Ask], set[tuple[str, str, str]]]]:
    keys = exchange.keys_dir
    now_s = int(time.time())
    route = RouteTokenSigner(load_key_ring(keys / ROUTE_FILE)).sign(
        user_id=uuid.UUID(ANY_ID), cell_id="cell-1", epoch=1, expires_at_s=now_s + 250
    )
    headers = {
        "X-Route-Token": route,
        "X-Idempotency-Key": "k",
        "X-Request-Id": "r",
        "If-Match": '"3"',
    }

    def asking(app: Any) -> Ask:
        async def ask(method: str, path: str, raw: bytes, media_type: str) -> tuple[int, Any]:
            known = headers | bearer(keys, "cell-1", method, path, "admin")
            status, _, said = await ask_asgi(app, method, path, raw, headers=known, media_type=media_type)
            return status, said

        return ask

    async def ask_exchange(method: str, path: str, raw: bytes, media_type: str) -> tuple[int, Any]:
        return exchange.operate(method, path, raw, media_type=media_type)

    cell = create_app(
        CellSettings(name="cell-1", postgres=PostgresSettings(dsn=cell_database.service_dsn), keys_dir=keys)
    )
    async with running_router(tmp_path) as router, cell.running():
        identity = router.router.pages
        asks = {
            "customer": asking(cell.customer),
            "operator": asking(cell.operator),
            "router": asking(identity),
            "exchange": ask_exchange,
        }
        routes = mutating("customer", cell.customer_routes) | mutating("operator", cell.operator)
        routes |= mutating("router", identity) | mutating(
            "exchange",
            Litestar(
                route_handlers=list(CONTROLLERS), dependencies={"verbs": Provide(lambda: None, sync_to_thread=False)}
            ),
        )
        yield asks, routes


async def test_every_body_that_enters_is_read_by_one_contract(
    ports: tuple[dict[str, Ask], set[tuple[str, str, str]]],
) -> None:
    asks, routes = ports
    assert routes == set(SHAPES) | NO_BODY
    wrong = []
    for (port, method, path), shape in SHAPES.items():
        target = re.sub(r"{\w+}", ANY_ID, path.replace("{report_id}", "1"))
        for name, raw, status, field in spoilt(shape):
            got, said = await asks[port](method, target, raw, "application/json")
            if (got, said.get("code"), said.get("field")) != (status, "INVALID_FIELD", field):
                wrong.append((port, method, path, name, got, said))
        got, said = await asks[port](method, target, json.dumps(shape.good).encode(), "text/plain")
        if (got, said.get("code")) != (415, "UNSUPPORTED_MEDIA_TYPE"):
            wrong.append((port, method, path, "text/plain", got, said))
    for raw in (b"x", b"{}", b"NaN"):
        got, said = await asks["operator"]("POST", "/operator/v1/checks", raw, "text/plain")
        assert (got, said["field"]) == (422, "body"), raw
    for query, status, field in (("orders?limit=0", 422, "limit"), ("orders?limit=x", 422, "limit")):
        got, said = await asks["exchange"]("GET", f"/operator/v1/{query}", b"", "text/plain")
        assert (got, said.get("field")) == (status, field), said
    for query, status, field in (
        ("run=r", 400, "symbol"),
        ("symbol=A&run=r&waits_for_replace=zz", 422, "waits_for_replace"),
        ("symbol=A&run=r&run=s", 400, "run"),
    ):
        got, said = await asks["exchange"]("POST", f"/operator/v1/tapes?{query}", b"x", "text/csv")
        assert (got, said.get("field")) == (status, field), said
    assert not wrong, "\n".join(map(str, wrong))


def one_text_changed(value: Any, changed: str, path: str = "") -> Iterable[tuple[str, Any]]:
    """The path of each text in the value, and the value with that text as `changed`."""
    if isinstance(value, str):
        yield path, changed
    elif isinstance(value, list):
        for place, one in enumerate(value):
            for where, new in one_text_changed(one, changed, f"{path}[{place}]"):
                yield where, [*value[:place], new, *value[place + 1 :]]
    elif isinstance(value, dict):
        for name, one in value.items():
            for where, new in one_text_changed(one, changed, f"{path}.{name}" if path else name):
                yield where, {**value, name: new}


async def test_a_text_that_cannot_be_kept_or_read_is_refused_by_name(
    ports: tuple[dict[str, Ask], set[tuple[str, str, str]]],
) -> None:
    """NUL wherever a text stands, however deep."""
    asks, _ = ports
    wrong = []
    for (port, method, path), shape in SHAPES.items():
        target = re.sub(r"{\w+}", ANY_ID, path.replace("{report_id}", "1"))
        for field, body in one_text_changed(shape.good, "a\x00b"):
            got, said = await asks[port](method, target, json.dumps(body).encode(), "application/json")
            if (got, said.get("code"), said.get("field")) != (422, "INVALID_FIELD", field):
                wrong.append((port, method, path, field, body, got, said))
    assert not wrong, "\n".join(map(str, wrong))
