"""What RFC 9110 asks of every resource, asked of every route of a cell's app server, on both of its ports, over raw
sockets. The routes come from the route tables, so a new one is asked too."""

import asyncio
import gzip
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.settings import PostgresSettings
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.app_server import app_server
from tests.support.databases import Template, TestDatabase
from tests.support.eventually import eventually
from tests.support.exchange_process import ExchangeProcess
from tests.support.operator_tokens import bearer, operator_token
from tests.support.raw_http import Answer, read_answer, request_bytes

pytestmark = pytest.mark.anyio
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
ORDER = json.dumps({"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "100"}).encode()


@dataclass(frozen=True)
class Route:
    """One path of one port, with an example of each parameter."""

    port: int
    app: Litestar
    path: str
    methods: frozenset[str]
    declared: frozenset[str]
    headers: dict[str, str]
    keys: Path

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Served:
    port: int
    operator_port: int
    app: CellApp
    user_id: uuid.UUID
    customer: dict[str, str]
    operator: dict[str, str]
    """Of who looks."""
    keys: Path

    def changing(self, method: str, path: str) -> dict[str, str]:
        """Of an operator who changes something."""
        return bearer(self.keys, "cell-1", method, path, "admin")

    def routes(self) -> Iterator[Route]:
        for port, app, headers in (
            (self.port, self.app.customer_routes, self.customer),
            (self.operator_port, self.app.operator, self.operator),
        ):
            for route in app.routes:
                if isinstance(route, HTTPRoute):
                    declared = {
                        parameter.field_alias
                        for handler, takes in route.route_handler_map.values()
                        for parameter in takes.expected_query_params
                        if "GET" in handler.http_methods
                    }
                    path = route.path_format.format_map(_Example(str(self.user_id)))
                    methods = frozenset(map(str, route.methods))
                    yield Route(port, app, path, methods, frozenset(declared), headers, self.keys)


class _Example(dict[str, str]):
    def __init__(self, user_id: str) -> None:
        super().__init__(user_id=user_id, symbol="AAPL", report_id="1")

    def __missing__(self, name: str) -> str:
        return "0190c0de-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def database(cell_template: Template) -> Iterator[TestDatabase]:
    with cell_template.clone() as cloned:
        yield cloned


@pytest.fixture(scope="module")
async def served(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    keys = tmp_path_factory.mktemp("keys")
    generate_key_files(keys)
    user_id = uuid.uuid4()
    expires_at_s = int(time.time()) + 290  # a route token lives no longer than 300
    route_token = RouteTokenSigner(load_key_ring(keys / ROUTE_FILE)).sign(
        user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=expires_at_s
    )
    operator = operator_token(keys, "admin", lives_s=290)
    with app_server(database, keys) as server:
        with closing(psycopg.connect(database.service_dsn, autocommit=True)) as connection:
            connection.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
            connection.execute("select open_account_v1(%s, 1, 'professional', 'a@example.com', null, 'x')", [user_id])
        port, operator_port = (urlsplit(url).port or 0 for url in (server.url, server.operator_url))
        await eventually(partial(_listens, port), within_s=60)
        await eventually(partial(_listens, operator_port), within_s=60)
        routes = _routes_of(database.service_dsn, keys)
        customer, operators = {"X-Route-Token": route_token}, {"Authorization": f"Bearer {operator}"}
        yield Served(port, operator_port, routes, user_id, customer, operators, keys)


def _routes_of(dsn: str, keys: Path) -> CellApp:
    """The same application, to read its routes from; it is never asked."""
    return create_app(CellSettings(name="cell-1", postgres=PostgresSettings(dsn=dsn), keys_dir=keys))


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def talk(port: int, *requests: tuple[str, bytes]) -> list[Answer]:
    """Requests with their methods, all in one packet on one connection, which is open and in step afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    async with asyncio.timeout(60):
        writer.write(b"".join(raw for _, raw in requests) + request_bytes("GET", "/health/live"))
        answers = [await read_answer(reader, is_head=method == "HEAD") for method, _ in requests]
        assert (await read_answer(reader)).status in (200, 404)
    writer.close()
    return answers


def asking(route: Route, method: str, query: str = "", body: bytes | None = None, **headers: str) -> tuple[str, bytes]:
    """A method and its request; a body is sent where one is usual."""
    named = {**route.headers, "X-Request-Id": "r-1", "X-Idempotency-Key": uuid.uuid4().hex}
    if "Authorization" in route.headers and method not in ("GET", "HEAD", "OPTIONS"):
        named |= bearer(route.keys, "cell-1", method, route.path, "admin")
    if body is None and method not in ("GET", "HEAD", "OPTIONS"):
        body = b"[]"
    if body is not None:
        named["Content-Type"] = "application/json"
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return method, request_bytes(method, route.path + query, named, body)


async def test_head_is_served_wherever_get_is(served: Served) -> None:
    asked = 0
    for route in served.routes():
        whole, head, _ = await talk(route.port, *(asking(route, method) for method in ("GET", "HEAD", "GET")))
        assert head.status == whole.status, route
        assert head.headers.keys() == whole.headers.keys(), route
        for name in head.headers:
            if route.path != "/metrics":  # counts what it is asked
                assert head.headers[name] == whole.headers[name], (route, name)
        assert int(whole.headers["content-length"]) == len(whole.body)
        asked += whole.status == 200
    assert asked > 15, "nearly every GET route has an answer"


async def test_allow_is_true(served: Served) -> None:
    for route in served.routes():
        told, *answers = await talk(
            route.port,
            asking(route, "OPTIONS"),
            *(asking(route, method, Content_Encoding="refused") for method in METHODS),  # before anything is done
        )
        assert (told.status, "content-length" in told.headers) == (204, False), route
        allowed = told.headers["allow"].split(", ")
        assert {*allowed} - {"HEAD"} == route.methods, route
        assert ("HEAD" in allowed) == ("GET" in allowed)
        for method, got in zip(METHODS, answers, strict=True):
            assert (got.status == 405) == (method not in allowed), (route, method)
            assert got.headers.get("allow") == (told.headers["allow"] if got.status == 405 else None), (route, method)


async def test_a_coded_body_is_refused_everywhere(served: Served) -> None:
    coded = [("gzip", gzip.compress(ORDER)), ("gzip", ORDER), ("GZIP", b""), ("identity, br", ORDER)]
    for route in served.routes():
        for method in route.methods - {"OPTIONS"}:
            *answers, plain = await talk(
                route.port,
                *(asking(route, method, body=body, Content_Encoding=coding) for coding, body in coded),
                asking(route, method, Content_Encoding="identity"),
            )
            for got in answers:
                assert (got.status, got.code) == (415, "UNSUPPORTED_MEDIA_TYPE"), (route, method)
                assert got.headers["accept-encoding"] == "identity"
            assert plain.status != 415, (route, method)


async def test_a_header_of_one_value_is_given_once(served: Served) -> None:
    names = ("Content-Type", "If-Match", "X-Idempotency-Key", "Authorization", "X-Route-Token", "Host")
    for route in served.routes():
        for method in route.methods - {"OPTIONS"}:
            twice = []
            for name in names:
                _, raw = asking(route, method, If_Match="a", Authorization="a", X_Route_Token="a")
                again = b"\r\n%b: application/json\r\n\r\n" % name.lower().encode()  # its case makes no difference
                missing = b"" if name.lower().encode() in raw.lower() else again[:-4]
                twice.append((method, raw.replace(b"\r\n\r\n", missing + again, 1)))
            answers = await talk(route.port, *twice)
            assert [(got.status, got.json().get("field")) for got in answers] == [(400, name) for name in names], route


async def test_a_query_parameter_is_known_and_given_once(served: Served) -> None:
    unknown = {"?nonsense=1": "nonsense", "?limi%74_=1": "limit_", "?Limit": "Limit", "?=": "", "?a=b;c": "a"}
    repeated = 0
    for route in served.routes():
        for method in route.methods - {"OPTIONS"}:
            answers = await talk(route.port, *(asking(route, method, query) for query in unknown))
            assert [(got.status, got.json()["field"]) for got in answers] == [(400, name) for name in unknown.values()]
        for name in route.declared:
            twice = (f"?{name}=1&{name}=1", f"?{name}&%{ord(name[0]):x}{name[1:]}=2")
            for got in await talk(route.port, *(asking(route, "GET", query) for query in twice)):
                assert (got.status, got.json()["field"], "twice" in got.json()["detail"]) == (400, name, True), route
                repeated += 1
        [told] = await talk(route.port, asking(route, "OPTIONS", "?nonsense=1"))
        assert told.status == 204
    assert repeated > 20, "the lists declare nothing"


async def test_every_401_has_its_challenge(served: Served) -> None:
    refused = 0
    for route in served.routes():
        for method in route.methods - {"OPTIONS"}:
            stranger = replace(route, headers={})
            answers = await talk(
                route.port,
                asking(stranger, method),
                asking(stranger, method, Authorization="Bearer x", X_Route_Token="x"),
            )
            for got in answers:
                assert (got.status == 401) == ("www-authenticate" in got.headers), (route, method)
                refused += got.status == 401
    assert refused > 40


async def test_an_id_in_a_path_has_one_spelling(served: Served) -> None:
    user_id = str(served.user_id)
    digits = user_id.replace("-", "")
    wrong = [
        digits,
        f"{digits[:9]}-{digits[9:14]}-{digits[14:]}--",
        "-" * 4 + digits,
        f"%7B{user_id}%7D",
        digits[:31] + "_" + digits[31:],
    ]
    headers = {**served.operator, "X-Request-Id": "r"}
    for path in ("/operator/v1/users/{}", "/operator/v1/users/{}/orders"):
        spelled = [user_id, user_id.upper(), *wrong]
        answers = await talk(
            served.operator_port, *(("GET", request_bytes("GET", path.format(text), headers)) for text in spelled)
        )
        assert [got.status for got in answers] == [200, 200] + [404] * len(wrong), path
    placed = request_bytes(
        "POST",
        "/v1/deposits",
        {**served.customer, "X-Idempotency-Key": "d", "Content-Type": "application/json"},
        b'{"amount": "1000"}',
    )
    order = request_bytes(
        "POST", "/v1/orders", {**served.customer, "X-Idempotency-Key": "o", "Content-Type": "application/json"}, ORDER
    )
    order_id = (await talk(served.port, ("POST", placed), ("POST", order)))[1].json()["order_id"]
    shown = request_bytes("GET", f"/operator/v1/users/{user_id}/orders", headers)
    [listed] = (await talk(served.operator_port, ("GET", shown)))[0].json()["items"]
    assert (listed["order"]["order_id"], listed["order"]["venue_order_id"]) == (order_id, None)
    digits = order_id.replace("-", "")
    moved = f"{digits[:7]}-{digits[7:13]}-{digits[13:16]}-{digits[16:20]}-{digits[20:]}"
    assert len(moved) == 36
    for path in ("/v1/orders/{}", "/v1/orders/{}/events", "/v1/orders/{}/executions"):
        asked = [
            ("GET", request_bytes("GET", path.format(text), served.customer)) for text in (order_id.upper(), moved)
        ]
        assert [got.status for got in await talk(served.port, *asked)] == [200, 404], path
    cancel = request_bytes("DELETE", f"/v1/orders/{moved}", {**served.customer, "X-Idempotency-Key": "c"})
    assert (await talk(served.port, ("DELETE", cancel)))[0].code == "ORDER_NOT_FOUND"


async def test_a_time_is_one_of_rfc_3339(served: Served) -> None:
    taken = [
        "2026-11-30T14:30:00Z", "2026-11-30t14:30:00.5z", "2026-11-30T09:30:00.123456789-05:00", "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.25Z", "2017-01-01T05:29:60%2B05:30", "2026-02-28T00:00:00-00:00", "0001-01-01T00:00:00Z",
    ]  # fmt: skip
    refused = [
        "2026-W49-1T14:30:00Z", "2026-W49-1", "2026-335T14:30:00Z", "20261130T143000Z", "2026-11-30", "1764513000",
        "2026-11-30T14:30Z", "2026-11-30T14:30:00", "2026-11-30%2014:30:00Z", "2026-11-30T14:30:00,5Z", "now", "",
        "2026-11-30T14:30:60Z", "2026-11-30T14:30:61Z", "2026-02-29T00:00:00Z", "2026-11-30T24:00:00Z", "%00",
        "2026-11-30T14:30:00%2B0100", "2026-11-30T14:30:00+01:00", "2026-11-30T14:30:00%2B24:00",
        "0000-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00%2B01:00", "2026-11-30T14:30:00%2B01:00:30",
        "%D9%A2026-11-30T14:30:00Z",
    ]  # fmt: skip
    for name in ("after", "until"):
        asked = [
            ("GET", request_bytes("GET", f"/v1/orders?{name}={text}", served.customer)) for text in taken + refused
        ]
        answers = await talk(served.port, *asked)
        assert [got.status for got in answers] == [200] * len(taken) + [422] * len(refused)
        assert {got.json().get("field") for got in answers[len(taken) :]} == {name}


async def test_an_upgrade_that_is_not_taken_is_ignored_on_both_ports(served: Served) -> None:
    body = b'{"profile": "professional"}'
    profile = f"/operator/v1/users/{served.user_id}/profile"
    for more in (H2C, {"Connection": "upgrade", "Upgrade": "websocket"}):
        headers = {**served.changing("PUT", profile), **more, "Content-Type": "application/json"}
        chunked = request_bytes("PUT", profile, {**headers, "Transfer-Encoding": "chunked"})
        answers = await talk(
            served.operator_port,
            ("PUT", request_bytes("PUT", profile, headers, body)),
            ("PUT", chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
            ("GET", request_bytes("GET", "/health/live", more)),
            ("GET", request_bytes("GET", "/operator/v1/summary", {**served.operator, **more})),
        )
        assert [got.status for got in answers] == [200] * 4
        headers = {**served.customer, **more, "Content-Type": "application/json"}
        answers = await talk(
            served.port,
            *(
                (
                    "POST",
                    request_bytes(
                        "POST",
                        "/v1/deposits",
                        {**headers, "X-Idempotency-Key": f"{key}-{len(more)}"},
                        b'{"amount": "1"}',
                    ),
                )
                for key in "abc"
            ),
        )
        assert [got.status for got in answers] == [201] * 3


async def test_an_absolute_target_is_the_same_resource(served: Served) -> None:
    for port, path, headers in (
        (served.port, "/v1/account", served.customer),
        (served.operator_port, "/operator/v1/summary", served.operator),
    ):
        targets = [path, f"http://elsewhere{path}", f"HTTPS://127.0.0.1:1{path}", "/", "http://elsewhere"]
        answers = await talk(port, *(("GET", request_bytes("GET", target, headers)) for target in targets))
        statuses = [got.status for got in answers]
        assert statuses == [200, 200, 200, statuses[3], statuses[3]]
        for target in (f"ftp://elsewhere{path}", f"http://somebody@elsewhere{path}"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_bytes("GET", target, headers))
            assert (await read_answer(reader)).status == 400
            writer.close()


async def test_who_waits_for_100_is_told_to_go_on(served: Served) -> None:
    profile = f"/operator/v1/users/{served.user_id}/profile"
    for port, method, path, headers, body in (
        (served.port, "POST", "/v1/deposits", served.customer, b'{"amount": "1"}'),
        (
            served.operator_port,
            "PUT",
            profile,
            served.changing("PUT", profile),
            b'{"profile": "retail"}',
        ),
    ):
        named = {
            **headers,
            "X-Idempotency-Key": uuid.uuid4().hex,
            "Content-Type": "application/json",
            "Expect": "100-continue",
        }
        head, _, content = request_bytes(method, path, named | H2C, body).partition(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            writer.write(head + b"\r\n\r\n")
            assert (await read_answer(reader)).status == 100
            writer.write(content)
            assert (await read_answer(reader)).status in (200, 201)
        writer.close()


async def test_the_exchanges_operators_port_obeys_too(exchange: ExchangeProcess) -> None:
    faults, body = "/operator/v1/faults", b'{"late_fill_rate": 1}'
    known = {"Authorization": f"Bearer {operator_token(exchange.keys_dir)}", "Content-Type": "application/json"}
    changing = {**known, **bearer(exchange.keys_dir, "exchange", "POST", faults)}
    answers = await talk(
        exchange.operator_port,
        ("POST", request_bytes("POST", faults, {**changing, **H2C}, body)),
        ("GET", request_bytes("GET", f"http://elsewhere{faults}", known)),
        ("HEAD", request_bytes("HEAD", faults, known)),
        ("POST", request_bytes("POST", faults, {**changing, "Content-Encoding": "gzip"}, body)),
        ("GET", request_bytes("GET", "/operator/v1/orders?limit=1&limit=2", known)),
        ("GET", request_bytes("GET", "/operator/v1/orders?page_token=x", known)),
        ("GET", request_bytes("GET", faults)),
    )
    assert [got.status for got in answers] == [200, 200, 200, 415, 400, 400, 401]
    assert answers[0].json() == answers[1].json() | {"unknown_fill_sent_to": []}
    assert answers[2].headers["x-request-id"] != answers[1].headers["x-request-id"]
    assert {**answers[2].headers, "x-request-id": ""} == {**answers[1].headers, "x-request-id": ""}
    assert [got.json()["field"] for got in answers[4:6]] == ["limit", "page_token"]
    assert "www-authenticate" in answers[6].headers
