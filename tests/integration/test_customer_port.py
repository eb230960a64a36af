"""The customer port as the router meets it: every bad request has its answer, and none of them is a 500."""

import asyncio
import base64
import dataclasses
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.settings import PostgresSettings
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.databases import Template, TestDatabase

pytestmark = pytest.mark.anyio

ORDER = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "100.00"}


@dataclass
class Port:
    """Two app servers of one cell, asked without a socket."""

    servers: list[CellApp]
    signer: RouteTokenSigner
    user_id: uuid.UUID
    database: TestDatabase

    def token(self, user_id: uuid.UUID | None = None, cell_id: str = "cell-1", expires_in_s: int = 60) -> str:
        expires_at_s = int(time.time()) + expires_in_s
        return self.signer.sign(user_id=user_id or self.user_id, cell_id=cell_id, epoch=1, expires_at_s=expires_at_s)

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        key: str | None = None,
        token: str | None = None,
        server: int = 0,
        if_match: str | None = None,
        budget_ms: int | None = None,
    ) -> tuple[int, dict[str, str], Any]:
        path, _, query = target.partition("?")
        headers = [(b"x-route-token", (self.token() if token is None else token).encode())]
        if method != "GET":
            headers.append((b"x-idempotency-key", (key or uuid.uuid4().hex).encode()))
            headers.append((b"content-type", b"application/json"))
        if if_match is not None:
            headers.append((b"if-match", if_match.encode()))
        if budget_ms is not None:
            headers.append((b"x-deadline-ms", b"%d" % budget_ms))
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers.append((b"content-length", b"%d" % len(raw)))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "headers": headers,
            "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.servers[server].customer(scope, receive, send)
        answered = b"".join(message.get("body", b"") for message in sent[1:])
        names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], names, json.loads(answered) if answered else None


@pytest.fixture(scope="module")
async def cell(cell_template: Template, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Port]:
    """The cell of this file's tests: two app servers take most of a second to make, and each test has its own user."""
    keys = tmp_path_factory.mktemp("keys")
    generate_key_files(keys)
    with cell_template.clone() as database:
        settings = CellSettings(
            name="cell-1",
            postgres=PostgresSettings(dsn=database.service_dsn),
            keys_dir=keys,
            share_transfers="accept",
            market_hours="always",
        )
        servers = [create_app(settings), create_app(settings)]
        async with servers[0].running(), servers[1].running():
            yield Port(servers, RouteTokenSigner(load_key_ring(keys / ROUTE_FILE)), uuid.UUID(int=0), database)


@pytest.fixture
async def port(cell: Port) -> Port:
    """The cell for a user who was never there before, with a thousand dollars and a price of this moment."""
    user_id = uuid.uuid4()
    with psycopg.connect(cell.database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        connection.execute(
            "select open_account_v1(%s, 1, 'professional', %s, null, 'x')",
            [user_id, f"{user_id}@example.com"],
        )
    asked = dataclasses.replace(cell, user_id=user_id)
    assert (await asked.ask("POST", "/v1/deposits", {"amount": "1000"}))[0] == 201
    return asked


def page_token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/orders?symbol=%00", 422),
        ("/v1/orders?symbol=aapl", 422),
        ("/v1/orders?status=%00", 422),
        ("/v1/orders?after=%00", 422),
        ("/v1/orders?page_token=" + page_token("\x00"), 422),
        ("/v1/orders/by-client-order-id/\x00", 404),
        ("/v1/orders/by-client-order-id/a\n", 404),
        ("/v1/orders/\x00", 404),
        ("/v1/orders/\x00/events", 404),
        ("/v1/symbols/\x00", 404),
        ("/v1/positions?page_token=" + page_token("\x00"), 422),
        ("/v1/positions?page_token=" + page_token("A\x00"), 422),
        ("/v1/ledger?page_token=" + page_token("9" * 40), 422),
        ("/v1/ledger?limit=%00", 422),
        ("/v1/positions?direction=", 422),
    ],
)
async def test_what_no_text_column_can_hold_is_refused_like_any_other_mistake(
    port: Port, target: str, status: int
) -> None:
    assert (await port.ask("GET", target))[0] == status


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/v1/orders", "GET, HEAD, OPTIONS, POST"),
        ("/v1/orders/0190c0de-0000-7000-8000-000000000000", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/v1/orders/preview", "OPTIONS, POST"),
        ("/v1/orders/x/events", "GET, HEAD, OPTIONS"),
        ("/v1/deposits", "OPTIONS, POST"),
    ],
)
async def test_options_names_every_method_of_a_path(port: Port, target: str, allowed: str) -> None:
    status, headers, _ = await port.ask("OPTIONS", target)
    assert (status, headers["allow"]) == (204, allowed)


@pytest.mark.parametrize("spell", [str.upper, lambda text: f"{{{text}}}", lambda text: text.replace("-", "")])
async def test_an_order_has_one_name(port: Port, spell: Callable[[str], str]) -> None:
    """UUIDs have many spellings; one of them is taken, whatever its case."""
    order_id = (await port.ask("POST", "/v1/orders", ORDER))[2]["order_id"]
    other = spell(order_id)
    assert (await port.ask("GET", f"/v1/orders/{other}"))[0] == (200 if len(other) == 36 else 404)


@pytest.mark.parametrize("name", ["a/b", "a\\b", "100%41", "%", ".", "..", "", "a b", "\u00e9", "a" * 129])
async def test_a_name_that_a_path_cannot_hold_is_refused(port: Port, name: str) -> None:
    status, _, problem = await port.ask("POST", "/v1/orders", {**ORDER, "client_order_id": name})
    assert (status, problem["field"]) == (422, "client_order_id")


async def test_only_the_routers_token_for_this_cell_brings_a_customer(port: Port) -> None:
    good = port.token()
    forged = [
        "",
        "x",
        "...",
        "\xff.\xfe.\xfd",
        good[:-3] + "AAA",
        port.token(cell_id="cell-2"),
        port.token(expires_in_s=-1),
    ]
    for token in forged:
        for method, target in [("GET", "/v1/account"), ("POST", "/v1/orders"), ("POST", "/internal/v1/sessions")]:
            status, headers, problem = await port.ask(method, target, ORDER, token=token)
            assert (status, problem["code"], headers["x-cell"]) == (401, "TOKEN_INVALID", "cell-1")


async def test_a_key_has_one_effect_whichever_endpoint_and_server_it_is_shown_to(port: Port) -> None:
    answers = await asyncio.gather(
        *(port.ask("POST", "/v1/deposits", {"amount": "5"}, key="one", server=n % 2) for n in range(8))
    )
    assert {status for status, _, _ in answers} == {201}
    assert len({deposit["deposit_id"] for _, _, deposit in answers}) == 1
    assert sum(headers.get("idempotency-replayed") == "true" for _, headers, _ in answers) == 7
    assert (await port.ask("GET", "/v1/account"))[2]["cash"] == "1005.000000"
    others: list[tuple[str, str, object]] = [
        ("POST", "/v1/deposits", {"amount": "6"}),
        ("POST", "/v1/orders", ORDER),
        ("POST", "/v1/share-transfers", {"symbol": "AAPL", "qty": "5", "unit_cost": "5"}),
        ("DELETE", f"/v1/orders/{uuid.uuid4()}", None),
    ]
    for method, target, body in others:
        status, _, problem = await port.ask(method, target, body, key="one", server=1)
        assert (status, problem["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_cancel_is_replayed_with_the_answer_of_its_first_time(port: Port) -> None:
    order_id = (await port.ask("POST", "/v1/orders", ORDER))[2]["order_id"]
    answers = await asyncio.gather(
        *(port.ask("DELETE", f"/v1/orders/{order_id}", key="c", server=n % 2) for n in range(6))
    )
    assert [(status, order["status"]) for status, _, order in answers] == [(200, "cancelled")] * 6
    assert len({json.dumps(order) for _, _, order in answers}) == 1
    assert (await port.ask("DELETE", f"/v1/orders/{order_id}"))[2]["code"] == "ORDER_NOT_OPEN"


@pytest.mark.parametrize("name", ["mine", "n" * 17, "n" * 128])
async def test_an_order_is_cancelled_by_its_customers_name(port: Port, name: str) -> None:
    """Also where the path is as long as one with an order id."""
    path = f"/v1/orders/by-client-order-id/{name}"
    first = await port.ask("DELETE", path, key="early")
    assert (first[0], first[2]["code"]) == (404, "ORDER_NOT_FOUND")
    _, _, order = await port.ask("POST", "/v1/orders", {**ORDER, "client_order_id": name})
    status, headers, again = await port.ask("DELETE", path, key="early", server=1)
    assert (status, again["code"], headers["idempotency-replayed"]) == (404, "ORDER_NOT_FOUND", "true")
    answers = await asyncio.gather(*(port.ask("DELETE", path, key="c", server=n % 2) for n in range(6)))
    assert [(status, said["order_id"], said["status"]) for status, _, said in answers] == [
        (200, order["order_id"], "cancelled")
    ] * 6
    assert sum(headers.get("idempotency-replayed") == "true" for _, headers, _ in answers) == 5
    status, _, problem = await port.ask("DELETE", path)
    assert (status, problem["code"], problem["order_status"]) == (409, "ORDER_NOT_OPEN", "cancelled")
    by_id = await port.ask("DELETE", f"/v1/orders/{order['order_id']}", key="c")
    assert (by_id[0], by_id[2]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (await port.ask("GET", "/v1/account"))[2]["cash"] == "1000.000000"


async def test_an_order_is_found_by_the_venues_name_and_only_by_its_owner(port: Port) -> None:
    _, _, order = await port.ask("POST", "/v1/orders", ORDER)
    assert order["venue_order_id"] is None
    path = "/v1/orders/by-venue-order-id/"
    with psycopg.connect(port.database.superuser_dsn, autocommit=True) as root:
        root.execute("update brokerage.orders set venue_order_id = 'X1:a%%b' where user_id = %s", [port.user_id])
    status, headers, found = await port.ask("GET", path + "X1:a%b")
    assert (status, found["order_id"], found["venue_order_id"]) == (200, order["order_id"], "X1:a%b")
    assert headers["etag"] == found["etag"]
    stranger = port.token(uuid.uuid4())
    for target, token in [(path + "X2", None), (path + "a\x00", None), (path + "X1:a%b", stranger)]:
        assert (await port.ask("GET", target, token=token))[0] == 404


async def test_a_list_begins_after_a_moment_and_ends_with_it(port: Port) -> None:
    """As the document says; and RFC 3339 has small letters as well."""
    orders = [(await port.ask("POST", "/v1/orders", ORDER))[2] for _ in range(3)]
    middle = orders[1]["created_at"]
    for at in (middle, middle.lower()):
        later = (await port.ask("GET", f"/v1/orders?after={at}"))[2]["items"]
        sooner = (await port.ask("GET", f"/v1/orders?until={at}&direction=asc"))[2]["items"]
        assert [order["order_id"] for order in later] == [orders[2]["order_id"]]
        assert [order["order_id"] for order in sooner] == [order["order_id"] for order in orders[:2]]


async def test_a_correction_that_moves_nothing_is_on_its_page(port: Port) -> None:
    """It has no entry of its own, so it shares the place of the fill before it."""
    _, _, order = await port.ask("POST", "/v1/orders", ORDER)
    told = [
        {"kind": "fill", "exec_id": "x-1", "last_qty": 1, "last_px": 99_990_000},
        {"kind": "correct", "exec_id": "x-2", "exec_ref_id": "x-1", "last_qty": 1, "last_px": 99_980_000},
        {"kind": "correct", "exec_id": "x-3", "exec_ref_id": "x-2", "last_qty": 1, "last_px": 99_970_000},
        {"kind": "fill", "exec_id": "x-4", "last_qty": 2, "last_px": 99_990_000},
    ]
    with psycopg.connect(port.database.service_dsn, autocommit=True) as cell:
        cell.execute("select claim_instructions_v1(1024)")  # other tests' users have some, too
        for seq, report in enumerate(told, 1):
            body = json.dumps({"trade_date": "2026-11-20", "at": f"2026-11-20T15:00:0{seq}Z", **report})
            inbox = cell.execute(
                "select inbox_id from accept_reports_v1('v', 's', %s::bigint[], %s::uuid[], %s::jsonb[], now())",
                [[seq], [order["order_id"]], [body]],
            ).fetchone()
            assert inbox is not None
            applied = cell.execute(
                "select outcome from apply_reports_v1(%s::bigint[], '2026-11-23')", [[inbox[0]]]
            ).fetchone()
            assert applied == ("applied",)
    wrong = [
        "1",
        "1 2 3",
        "1 2026-11-20T15:00:00 x",
        "x 2026-11-20T15:00:00Z x",
        "1 2026-11-20T15:00:00Z \0",
        "\u0661 a b",
    ]
    for text in wrong:
        target = f"/v1/orders/{order['order_id']}/executions?page_token={page_token(text)}"
        assert (await port.ask("GET", target))[0] == 422, text
    for direction, names in (("asc", ["x-1", "x-2", "x-3", "x-4"]), ("desc", ["x-4", "x-3", "x-2", "x-1"])):
        found = await walk(port, f"/v1/orders/{order['order_id']}/executions", direction, limit=1)
        assert [item["exec_id"] for item in found] == names


async def test_a_cancel_has_one_path(port: Port) -> None:
    _, _, order = await port.ask("POST", "/v1/orders", ORDER)
    for path in (f"/v1/ordersX{order['order_id']}", f"/v1/orders_{order['order_id']}"):
        assert (await port.ask("DELETE", path))[0] == 404
    assert (await port.ask("GET", f"/v1/orders/{order['order_id']}"))[2]["status"] == "funds_held"


async def test_a_session_is_neither_begun_nor_renewed_while_its_user_moves(port: Port) -> None:
    """What is written during a move stays behind: the new owner would take the renewed token for a copy."""
    opened = await port.ask(
        "POST",
        "/internal/v1/accounts",
        {"email": f"{(moving := uuid.uuid4())}@example.com", "password": "correct horse"},
        token=port.token(moving),
    )
    shown = {"refresh_token": opened[2]["refresh_token"]}
    halt = (
        "update brokerage.users set owner_state = 'halted', lease_ends_at = now() + interval '1 hour' "
        "where user_id = %s"
    )
    with psycopg.connect(port.database.superuser_dsn, autocommit=True) as root:
        root.execute(halt, [moving])
        for target, body in [
            ("/internal/v1/sessions/refresh", shown),
            ("/internal/v1/sessions", {"password": "correct horse"}),
        ]:
            status, _, problem = await port.ask("POST", target, body, token=port.token(moving))
            assert (status, problem["code"]) == (503, "USER_HALTED")
        assert root.execute("select set_profile_v1(%s, 'professional', 'o', 'r')", [moving]).fetchone() == (False,)
        root.execute("update brokerage.users set lease_ends_at = now() - interval '1 s' where user_id = %s", [moving])
        assert (await port.ask("POST", "/internal/v1/sessions/refresh", shown, token=port.token(moving)))[0] == 200
        root.execute("update brokerage.users set owner_state = 'departed' where user_id = %s", [moving])
        status, _, problem = await port.ask(
            "POST", "/internal/v1/sessions", {"password": "correct horse"}, token=port.token(moving)
        )
        assert (status, problem["code"]) == (421, "MISDIRECTED")


async def test_a_login_that_meets_a_held_user_is_told_to_come_again(port: Port) -> None:
    opened = await port.ask(
        "POST",
        "/internal/v1/accounts",
        {"email": f"{(held := uuid.uuid4())}@example.com", "password": "correct horse"},
        token=port.token(held),
    )
    assert opened[0] == 201
    with psycopg.connect(port.database.superuser_dsn) as root:
        root.execute("select 1 from brokerage.users where user_id = %s for update", [held])
        status, headers, problem = await port.ask(
            "POST", "/internal/v1/sessions", {"password": "correct horse"}, token=port.token(held)
        )
    assert (status, problem["code"], headers["retry-after"]) == (503, "OVERLOADED", "1")


async def walk(port: Port, target: str, direction: str, limit: int = 2) -> list[dict[str, Any]]:
    """Every item of a list, two at a time."""
    items: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        query = f"?limit={limit}&direction={direction}" + ("" if token is None else f"&page_token={token}")
        status, _, page = await port.ask("GET", target + query)
        assert status == 200, page
        assert len(page["items"]) <= limit
        items += page["items"]
        token = page["next_page_token"]
        if token is None:
            return items


async def test_every_list_is_walked_whole_in_both_directions(port: Port) -> None:
    with psycopg.connect(port.database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_reference_prices_v1(array['MSFT', 'TSLA'], array[100000000, 100000000], now())")
    for symbol in ("AAPL", "MSFT", "TSLA"):
        body = {"symbol": symbol, "qty": "1", "unit_cost": "1"}
        assert (await port.ask("POST", "/v1/share-transfers", body))[0] == 201
    orders = [(await port.ask("POST", "/v1/orders", ORDER))[2] for _ in range(5)]
    assert (await port.ask("DELETE", f"/v1/orders/{orders[0]['order_id']}"))[0] == 200
    lists = [
        ("/v1/orders", 5),
        ("/v1/ledger", 10),
        ("/v1/positions", 3),
        (f"/v1/orders/{orders[0]['order_id']}/events", 4),
    ]
    for target, count in lists:
        forwards, backwards = await walk(port, target, "asc"), await walk(port, target, "desc")
        assert len(forwards) == count
        assert forwards == backwards[::-1]
    assert [order["order_id"] for order in await walk(port, "/v1/orders", "asc")] == [o["order_id"] for o in orders]
    _, _, newest = await port.ask("GET", f"/v1/orders/{orders[0]['order_id']}/events")
    assert [event["to"] for event in newest["items"]] == ["cancelled", "funds_held", "validated", "pending"]


async def test_a_preview_says_what_placing_would_and_leaves_nothing(port: Port) -> None:
    def state() -> Any:
        with psycopg.connect(port.database.service_dsn, autocommit=True) as connection:
            return connection.execute(
                "select write_seq, (select count(*) from brokerage.orders o where o.user_id = u.user_id), "
                "(select count(*) from brokerage.idempotency_keys k where k.user_id = u.user_id), "
                "(select count(*) from brokerage.outbox x where x.user_id = u.user_id) "
                "from brokerage.users u where user_id = %s",
                [port.user_id],
            ).fetchone()

    before = state()
    status, _, verdict = await port.ask("POST", "/v1/orders/preview", ORDER)
    assert (status, verdict) == (
        200,
        {"would_accept": True, "refusals": [], "hold": "100.000000", "estimated_cost": "100.000000"},
    )
    status, _, verdict = await port.ask("POST", "/v1/orders/preview", {**ORDER, "qty": "11"})
    assert (status, verdict["would_accept"], verdict["hold"]) == (200, False, None)
    assert verdict["refusals"][0]["code"] == "INSUFFICIENT_BUYING_POWER"
    assert verdict["refusals"][0]["required"] == "1100.000000"
    status, _, verdict = await port.ask("POST", "/v1/orders/preview", {**ORDER, "side": "sell"})
    assert (verdict["refusals"][0]["code"], verdict["estimated_cost"]) == ("INSUFFICIENT_SHARES", "-100.000000")
    status, _, problem = await port.ask("POST", "/v1/orders/preview", {**ORDER, "qty": "0"})
    assert (status, problem["code"]) == (422, "INVALID_FIELD")
    assert state() == before


async def test_a_risk_refusal_explains_itself_and_is_previewed(port: Port) -> None:
    away = {**ORDER, "limit_price": "110.01"}
    status, _, problem = await port.ask("POST", "/v1/orders", away, key="away")
    assert (status, problem["code"], problem["field"]) == (422, "PRICE_OUT_OF_BAND", "limit_price")
    assert (problem["reference_price"], problem["band_pct"]) == ("100.000000", 10)
    assert "prices from 90.000000 to 110.000000 are taken" in problem["detail"]
    status, headers, again = await port.ask("POST", "/v1/orders", away, key="away", server=1)
    assert (status, headers["idempotency-replayed"]) == (422, "true")
    assert {**again, "request_id": None} == {**problem, "request_id": None}
    _, _, verdict = await port.ask("POST", "/v1/orders/preview", away)
    assert verdict["refusals"][0] == {key: problem[key] for key in verdict["refusals"][0]}
    with psycopg.connect(port.database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_profile_v1(%s, 'retail', 'o', 'r')", [port.user_id])
    answers = [(await port.ask("POST", "/v1/orders", {**ORDER, "qty": "0.01"}, server=n % 2))[2] for n in range(61)]
    refused = next(answer for answer in answers if "code" in answer)
    assert (refused["code"], refused["unit"]) == ("ORDER_RATE_LIMIT", "orders")
    assert (refused["limit"], refused["current"], refused["window_s"]) in [(10, 10, 1), (60, 60, 60)]
    assert f"up to {refused['limit']} orders in {refused['window_s']} s" in refused["detail"]


async def test_a_position_limit_names_its_figures_in_dollars(port: Port) -> None:
    with psycopg.connect(port.database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_profile_v1(%s, 'retail', 'o', 'r')", [port.user_id])
    assert (await port.ask("POST", "/v1/deposits", {"amount": "600000"}))[0] == 201
    status, _, problem = await port.ask("POST", "/v1/orders", {**ORDER, "qty": "5000.000001"})
    assert (status, problem["code"]) == (422, "POSITION_LIMIT")
    assert (problem["limit"], problem["current"], problem["required"]) == (
        "500000.000000",
        "0.000000",
        "500000.000100",
    )


@pytest.mark.parametrize(
    ("body", "if_match", "status"),
    [
        ({"qty": "2"}, None, 400),
        ({"qty": "2"}, "3", 400),
        ({"qty": "2"}, '"2"', 412),
        ({"qty": "2"}, '"another"', 412),
        ({"qty": "2"}, '"03"', 412),
        ({"qty": "2"}, 'W/"3"', 412),
        ({"qty": "2"}, '"2", "4",W/"3"', 412),
        ({"qty": "2"}, '"2"; "3"', 400),
        ({"qty": "2"}, '*, "3"', 400),
        ({"qty": "2"}, '"another",\t"2" , "3"', 202),
        ({}, "*", 400),
        ({"time_in_force": ""}, "*", 422),
        ({"time_in_force": "\0"}, "*", 422),
        ({"qty": "2", "side": "sell"}, "*", 422),
        ({"qty": "0"}, "*", 422),
        ({"qty": "11"}, "*", 422),
        ({"client_order_id": "mine"}, "*", 400),
        ({"qty": "2", "client_order_id": "a/b"}, "*", 422),
        ({"qty": "2", "client_order_id": 5}, "*", 422),
        ({"qty": "2", "client_order_id": ""}, "*", 422),
        ({"qty": "2", "client_order_id": None}, "*", 202),
        ({"stop_price": "90.00"}, "*", 422),
        ({"qty": "2"}, '"3"', 202),
        ({"limit_price": "99.99", "time_in_force": "gtc"}, "*", 202),
    ],
)
async def test_a_replacement_names_what_it_replaces(
    port: Port, body: object, if_match: str | None, status: int
) -> None:
    _, _, old = await port.ask("POST", "/v1/orders", ORDER)
    key = uuid.uuid4().hex
    answer = await port.ask("PATCH", f"/v1/orders/{old['order_id']}", body, key=key, if_match=if_match)
    assert answer[0] == status, answer
    if status == 202:
        assert (answer[2]["replaces"], answer[1]["etag"]) == (old["order_id"], answer[2]["etag"])
        again = await port.ask("PATCH", f"/v1/orders/{old['order_id']}", body, key=key, if_match=if_match, server=1)
        assert (again[0], again[2]) == (202, answer[2])
        assert again[1]["idempotency-replayed"] == "true"
    for nobodys in ("0190c0de-0000-7000-8000-000000000000", "x"):
        assert (await port.ask("PATCH", f"/v1/orders/{nobodys}", {"qty": "2"}, if_match="*"))[0] == 404


async def test_a_replacement_has_a_name_of_its_own(port: Port) -> None:
    """Found and cancelled by it; part of what a key stands for; refused, and kept so, in the words of placing."""
    _, _, old = await port.ask("POST", "/v1/orders", {**ORDER, "client_order_id": "first"})
    path, change = f"/v1/orders/{old['order_id']}", {"qty": "2", "client_order_id": "second"}
    status, _, new = await port.ask("PATCH", path, change, key="k", if_match="*")
    assert (status, new["client_order_id"], new["replaces"]) == (202, "second", old["order_id"])
    assert (await port.ask("PATCH", path, change, key="k", if_match="*", server=1))[2] == new
    for other in ({"qty": "2"}, {"qty": "2", "client_order_id": "third"}):
        assert (await port.ask("PATCH", path, other, key="k", if_match="*"))[2]["code"] == "IDEMPOTENCY_KEY_REUSED"
    for name, order_id in (("first", old["order_id"]), ("second", new["order_id"])):
        assert (await port.ask("GET", f"/v1/orders/by-client-order-id/{name}"))[2]["order_id"] == order_id
    placed = await port.ask("POST", "/v1/orders", {**ORDER, "client_order_id": "second"})
    for taken in ("first", "second"):
        again = {"qty": "3", "client_order_id": taken}
        refused = await port.ask("PATCH", f"/v1/orders/{new['order_id']}", again, key=taken, if_match="*")
        assert (refused[0], refused[2]["code"]) == (422, "DUPLICATE_CLIENT_ORDER_ID")
        assert refused[2]["detail"] == placed[2]["detail"]
        repeat = await port.ask("PATCH", f"/v1/orders/{new['order_id']}", again, key=taken, if_match="*", server=1)
        assert (repeat[0], repeat[2]["code"], repeat[1]["idempotency-replayed"]) == (422, refused[2]["code"], "true")
    _, _, last = await port.ask("PATCH", f"/v1/orders/{new['order_id']}", {"qty": "3"}, if_match="*")
    assert (last["client_order_id"], last["replaces"]) == (None, new["order_id"]), "a name is not handed on"


async def test_five_dollars_of_a_share(port: Port) -> None:
    """Placed, previewed, read, refused a change, and cancelled; replays tell amounts and quantities apart."""
    five: dict[str, object] = {"symbol": "AAPL", "side": "buy", "type": "market", "notional": "5"}
    _, _, verdict = await port.ask("POST", "/v1/orders/preview", five)
    assert verdict == {"would_accept": True, "refusals": [], "hold": "5.000000", "estimated_cost": "5.000000"}
    status, _, order = await port.ask("POST", "/v1/orders", five, key="five")
    assert (status, order["qty"], order["notional"], order["held"]) == (201, None, "5.000000", "5.000000")
    assert (order["status"], order["leaves_qty"], order["cum_qty"]) == ("funds_held", None, "0.000000")
    path = f"/v1/orders/{order['order_id']}"
    assert (await port.ask("GET", path))[2] == order
    assert (await port.ask("GET", "/v1/orders?status=open"))[2]["items"] == [order]
    assert (await port.ask("POST", "/v1/orders", five, key="five", server=1))[2] == order
    other = await port.ask("POST", "/v1/orders", {**five, "notional": "5.01"}, key="five")
    assert other[2]["code"] == "IDEMPOTENCY_KEY_REUSED"
    status, _, problem = await port.ask("PATCH", path, {"qty": "1"}, if_match="*")
    assert (status, problem["code"]) == (422, "ORDER_NOT_REPLACEABLE")
    assert (await port.ask("GET", "/v1/account"))[2]["buying_power"] == "995.000000"
    status, _, ended = await port.ask("DELETE", path)
    assert (status, ended["status"], ended["leaves_qty"], ended["held"]) == (200, "cancelled", "0.000000", "0.000000")
    assert (await port.ask("GET", "/v1/account"))[2]["buying_power"] == "1000.000000"
    status, _, problem = await port.ask("POST", "/v1/orders", {**five, "notional": "1000.000001"})
    assert (problem["code"], problem["required"]) == ("INSUFFICIENT_BUYING_POWER", "1000.000001")


@pytest.mark.parametrize(
    ("free", "kind", "notional", "held"),
    [
        ("1", "market", "95", "1.000000"),  # at worst 5 % below the reference: 1.00
        ("1", "market", "97", "1.000000"),  # at worst 1.021053, as far as shares are free
        ("1", "market", "100", "1.000000"),
        ("1", "market", "100.000001", None),  # needs 1.000001 at the reference
        ("1", "limit", "98", "1.000000"),
        ("1", "limit", "98.000001", None),
        ("2", "market", "97", "1.021053"),
        ("2", "limit", "97", "0.989796"),
    ],
)
async def test_a_sale_by_amount_holds_what_it_may_take(
    port: Port, free: str, kind: str, notional: str, held: str | None
) -> None:
    assert (await port.ask("POST", "/v1/share-transfers", {"symbol": "AAPL", "qty": free, "unit_cost": "1"}))[0] == 201
    sale = {"symbol": "AAPL", "side": "sell", "type": kind, "notional": notional}
    sale |= {"limit_price": "98.00"} if kind == "limit" else {}
    _, _, verdict = await port.ask("POST", "/v1/orders/preview", sale)
    status, _, order = await port.ask("POST", "/v1/orders", sale)
    assert verdict["would_accept"] == (status == 201)
    if held is None:
        assert (order["code"], order["required"], order["available"]) == ("INSUFFICIENT_SHARES", "1.000001", "1.000000")
    else:
        assert verdict["hold"] == order["held"] == held
        assert (await port.ask("GET", "/v1/positions"))[2]["items"][0]["qty_held"] == held


@pytest.mark.parametrize("statement", ["lock table brokerage.users", "lock table brokerage.orders"])
async def test_a_read_ends_with_its_budget_at_the_database_too(port: Port, statement: str) -> None:
    """The rows are locked away. The answer is a refusal in time, and no statement of it goes on."""
    with psycopg.connect(port.database.superuser_dsn, autocommit=True) as blocker:
        with blocker.transaction():
            blocker.execute(statement)
            began = time.monotonic()
            status, headers, body = await port.ask("GET", "/v1/orders", budget_ms=150)
            assert time.monotonic() - began < 3.5  # our own statement timeout is four
            waiting = blocker.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            ).fetchone()
        assert (status, body["code"], headers["retry-after"]) == (503, "OVERLOADED", "1")
        assert waiting == (0,)
    assert (await port.ask("GET", "/v1/orders"))[0] == 200


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/orders", ORDER),
        ("POST", "/v1/deposits", {"amount": "1"}),
        ("POST", "/v1/share-transfers", {"symbol": "AAPL", "qty": "1", "unit_cost": "1"}),
    ],
)
async def test_a_write_of_a_locked_user_is_refused_with_its_budget_and_not_done_later(
    port: Port, method: str, target: str, body: object
) -> None:
    with psycopg.connect(port.database.superuser_dsn, autocommit=True) as blocker:
        with blocker.transaction():
            blocker.execute("select 1 from brokerage.users where user_id = %s for update", [port.user_id])
            refused = await asyncio.gather(*(port.ask(method, target, body, budget_ms=300) for _ in range(3)))
        assert [status for status, _, _ in refused] == [503] * 3
        certain = [problem["code"] for _, _, problem in refused].count("OVERLOADED")
        assert certain >= 2, "two of them only waited"
        assert (await port.ask(method, target, body))[0] == 201  # whatever was left of them has passed by now
        keys = blocker.execute(
            "select count(*) from brokerage.idempotency_keys where user_id = %s", [port.user_id]
        ).fetchone()
    assert keys is not None
    assert keys[0] <= 2 + 3 - certain, "something was done that was said not to be"


async def test_who_has_no_time_left_is_not_begun(port: Port) -> None:
    for method, target, body in (("GET", "/v1/account", None), ("POST", "/v1/orders", ORDER)):
        status, _, problem = await port.ask(method, target, body, budget_ms=0)
        assert (status, problem["code"]) == (503, "OVERLOADED")
    assert (await port.ask("GET", "/v1/orders"))[2]["items"] == []


async def test_a_preview_ends_with_its_budget(port: Port) -> None:
    with psycopg.connect(port.database.superuser_dsn) as blocker:
        blocker.execute("lock table brokerage.users")
        status, _, body = await port.ask("POST", "/v1/orders/preview", ORDER, budget_ms=100)
    assert (status, body["code"]) == (503, "OVERLOADED")


async def test_placing_and_cancelling_have_one_handler_under_every_spelling_of_their_paths(port: Port) -> None:
    for target in ("/v1/orders", "/v1/orders/", "//v1/orders", "/v1//orders//"):
        status, _, placed = await port.ask("POST", target, ORDER)
        assert status == 201, target
        cancelled = f"{target.rstrip('/')}/{placed['order_id']}{'/' * target.endswith('/')}"
        assert (await port.ask("DELETE", cancelled))[0] in (200, 202), cancelled
        assert (await port.ask("DELETE", f"{target}/nobodys"))[2]["code"] == "ORDER_NOT_FOUND"
    status, headers, _ = await port.ask("DELETE", "/v1/orders/preview")
    assert (status, headers["allow"]) == (405, "OPTIONS, POST")
    assert (await port.ask("DELETE", "/v1/orders"))[0] == 405
