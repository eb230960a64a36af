"""What RFC 9110 and 9112 ask, asked of the router: its own calls, and what it forwards."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator

import pytest
from litestar.routes import HTTPRoute

from tests.support.raw_http import Answer, read_answer, request_bytes
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest, answer, chunked

pytestmark = pytest.mark.anyio
LARGE = 300_000  # more than the router holds back


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RouterUnderTest]:
    async with running_router(tmp_path_factory.mktemp("router")) as running:
        yield running


@pytest.fixture
async def router(shared: RouterUnderTest) -> RouterUnderTest:
    for cell in shared.cells.values():
        cell.behave = cell.succeed
        cell.seen.clear()
    return shared


def own_routes(router: RouterUnderTest) -> list[tuple[str, str]]:
    """Method and path of what the router answers itself, on either port."""
    return [
        (method, route.path_format)
        for route in router.router.pages.routes
        if isinstance(route, HTTPRoute)
        for method in sorted(map(str, route.methods))
        if method != "OPTIONS"
    ]


async def talk(port: int, *requests: tuple[str, bytes]) -> list[Answer]:
    """Requests with their methods on one connection, in one packet; it is in step and open afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    async with asyncio.timeout(30):
        writer.write(b"".join(raw for _, raw in requests))
        answers = [await read_answer(reader, is_head=method == "HEAD") for method, _ in requests]
        writer.write(request_bytes("GET", "/nothing"))
        assert (await read_answer(reader)).status == 404
    writer.close()
    return answers


def asking(method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[str, bytes]:
    named = {"X-Request-Id": "r-1", "X-Idempotency-Key": "k", "Content-Type": "application/json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return method, request_bytes(method, target, named, b"{}" if body is None and method == "POST" else body)


async def test_head_of_what_the_router_answers_itself(router: RouterUnderTest) -> None:
    pages = [path for method, path in own_routes(router) if method == "GET"]
    assert {"/openapi.json", "/docs"} <= set(pages)
    for port, path in [*((router.port, page) for page in pages), (router.operator_port, "/health/live")]:
        whole, head, again = await talk(port, *(asking(method, path) for method in ("GET", "HEAD", "GET")))
        assert (head.status, head.headers) == (whole.status, whole.headers) == (again.status, again.headers), path
        assert int(head.headers["content-length"]) == len(whole.body)


async def test_head_is_asked_of_the_cell_as_get_and_loses_its_body(router: RouterUnderTest) -> None:
    """Also where the answer is too long to be held back, or has no length; and connections to the cell are kept."""

    async def of_any_size(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/v1/short":
            writer.write(answer(200, {"a": "b"}, 'etag: "1"'))
        elif request.target == "/v1/long":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % LARGE)
            for _ in range(3):
                writer.write(b"x" * (LARGE // 3))
                await asyncio.sleep(0.01)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(3):
                writer.write(chunked(b"y" * 1_000))
                await asyncio.sleep(0.01)
            writer.write(b"0\r\n\r\n")

    cell = router.cells["cell-1"]
    cell.behave = of_any_size
    token = f"Bearer {router.token('cell-1')}"
    await talk(router.port, asking("GET", "/v1/short", Authorization=token))
    connections = cell.connections
    for target in ("/v1/short", "/v1/long", "/v1/chunked"):
        whole, head, _ = await talk(
            router.port, *(asking(method, target, Authorization=token) for method in ("GET", "HEAD", "GET"))
        )
        assert (head.status, head.body, len(whole.body) > 0) == (200, b"", True)
        left_out = {"ratelimit-remaining", "ratelimit-reset"}
        assert {*head.headers.items()} - {*whole.headers.items()} <= {
            (name, head.headers.get(name)) for name in left_out
        }
    assert cell.connections == connections
    assert {request.method for request in cell.seen} == {"GET"}


async def test_head_follows_a_421_by_its_hint(router: RouterUnderTest) -> None:
    router.cells["cell-1"].refuse_with_421("cell-2", router.shard_map.epoch + 1)
    [got] = await talk(router.port, asking("HEAD", "/v1/account", Authorization=f"Bearer {router.token('cell-1')}"))
    assert (got.status, got.headers["x-cell"]) == (200, "cell-2")


async def test_an_absolute_target_names_the_same_resource(router: RouterUnderTest) -> None:
    """Its authority takes the place of Host, and leads nowhere but here."""
    token = f"Bearer {router.token('cell-1')}"
    targets = ["http://elsewhere/v1/account?a=b", "HTTP://cell-2:80/v1/account?a=b", "https://[::1]:9/v1/account?a=b"]
    answers = await talk(router.port, *(asking("GET", target, Authorization=token) for target in targets))
    assert [got.json() for got in answers] == [{"cell": "cell-1", "target": "/v1/account?a=b"}] * 3
    seen = router.cells["cell-1"].seen
    assert {request.header("host") for request in seen} == {router.cells["cell-1"].url.removeprefix("http://")}
    seen.clear()
    answers = await talk(
        router.port,
        asking("GET", "http://elsewhere", Authorization=token),
        asking("GET", "http://elsewhere?/v1/account", Authorization=token),
        asking("GET", "http://elsewhere/docs"),
        asking("POST", "http://cell-1/internal/v1/accounts", Authorization=token),
        asking("GET", "http://cell-1/v1/../internal/v1/accounts", Authorization=token),
        asking("GET", "http://cell-1/v1//cell-2/v1/account", Authorization=token),
        asking("GET", "http://cell-1//v1/account", Authorization=token),
        asking("POST", "http://elsewhere/v1/tokens", b'{"grant_type": "refresh_token", "refresh_token": "x"}'),
    )
    assert [got.status for got in answers] == [404, 404, 200, 404, 400, 400, 404, 401]
    assert seen == []


async def test_every_401_has_its_challenge(router: RouterUnderTest) -> None:
    body = b'{"grant_type": "refresh_token", "refresh_token": "x"}'
    answers = await talk(
        router.port,
        asking("POST", "/v1/tokens", body),
        asking("GET", "/v1/account"),
        asking("HEAD", "/v1/account", Authorization="Bearer x"),
        asking("POST", "/v1/orders", Authorization="Basic x"),
    )
    assert [(got.status, got.headers.get("www-authenticate")) for got in answers] == [(401, "Bearer")] * 4


async def test_the_rules_of_every_route_hold_for_the_routers_own(router: RouterUnderTest) -> None:
    for method, path in own_routes(router):
        *coded, unknown, options = await talk(
            router.port,
            asking(method, path, gzip.compress(b"{}"), Content_Encoding="gzip"),
            asking(method, path, b"{}", Content_Encoding="gzip"),
            asking(method, f"{path}?nonsense=1"),
            asking("OPTIONS", path),
        )
        for got in coded:
            assert (got.status, got.headers["accept-encoding"]) == (415, "identity"), path
        assert (unknown.status, unknown.json()["field"]) == (400, "nonsense"), path
        assert (options.status, options.headers.get("content-length")) == (204, None)
        assert method in options.headers["allow"].split(", ")
        refused = {"GET": "DELETE", "POST": "GET"}[method]
        [other] = await talk(router.port, asking(refused, path))
        assert (other.status, other.headers["allow"]) == (405, options.headers["allow"])
        assert all(got.headers["x-request-id"] == "r-1" for got in (*coded, unknown, options, other))


@pytest.mark.parametrize("name", ["Authorization", "X-Idempotency-Key"])
@pytest.mark.parametrize("target", ["/v1/orders", "/v1/users", "/v1/tokens"])
async def test_what_a_request_says_once_is_not_said_twice(router: RouterUnderTest, name: str, target: str) -> None:
    method, raw = asking("POST", target, Authorization=f"Bearer {router.token('cell-1')}")
    again = re.sub(rf"(?i)\r\n({name}): [^\r]*".encode(), rb"\g<0>\r\n\1: second", raw)
    assert again != raw
    [got] = await talk(router.port, (method, again))
    assert (got.status, got.code) == (400, "INVALID_FIELD")
    assert name in got.json()["detail"]
    assert router.cells["cell-1"].seen == []
