"""Whatever a client sends, however it is cut: answers are well formed and in order, a cell sees only whole requests
that two readers read the same, and the same bytes mean the same in one packet and in many."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.support.raw_http import read_answer
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest

pytestmark = pytest.mark.anyio
ROUNDS: Final = 150
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", "G T"]
TARGETS: Final = [
    "/v1/orders", "/v1/orders?x=%00&y=%0d%0a", "/v1/orders/%2e%2e/%2e%2e/internal/v1/accounts", "/v1/../internal",
    "/v1/./orders", "/v1//orders", "/v1/%2e", "/v1/a%2fb", "/v1/a%5cb", "/v1/%252e%252e", "/v1/;/x", "/v1/a#b", "/v1",
    "/v1/", "/v1/users", "/v1/users/", "/V1/orders", "http://cell-1/v1/orders", "//cell-1/v1/orders", "*", "cell:80",
    "/internal/v1/accounts", "/v1/orders HTTP/1.1\r\nx: y\r\n\r\nGET /v1/orders", "/v1/o\x80", "/v1/o\x00", "",
    "/" + "a" * 5000,
]  # fmt: skip
VERSIONS: Final = ["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/1.1 ", ""]
HEADERS: Final = [
    "Connection: close", "Connection: keep-alive", "Connection: x-extra", "Connection: upgrade", "Upgrade: h2c",
    "Expect: 100-continue", "Expect: 200-maybe", "X-Extra: 1", "X-Route-Token: forged", "X-Forwarded-For: 1.2.3.4",
    "X_Route_Token: forged", "Host: twice", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity", "Content-Length: 0", "Content-Length: 3", "Content-Length: 99999999999999999999",
    "Content-Length: 0x3", "Content-Length: 3, 3", "Content-Length : 3", "X: a\x00b", "X: a\nY: b", "X: a\r\n folded",
    "X: " + "a" * 20_000, "X-Idempotency-Key: k", "X-Idempotency-Key: k ", "TE: trailers", "\x7fX: a", ": a", "X",
]  # fmt: skip
BODIES: Final = [b"", b"", b"{}", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"3;x=y\r\nabc\r\n0\r\nX-Route-Token: t\r\n\r\n",
    b"0\r\n\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n"]  # fmt: skip


@pytest.fixture(scope="module")
async def router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RouterUnderTest]:
    edge = {"drain_idle_s": 0.1}
    async with running_router(tmp_path_factory.mktemp("router"), edge=edge) as running:
        yield running


def one_request(source: random.Random, token: str) -> bytes:
    """Mostly sound, with something odd here and there."""
    odd = source.random() < 0.5
    method = source.choice(METHODS) if odd and source.random() < 0.3 else source.choice(METHODS[:5])
    target = source.choice(TARGETS) if odd and source.random() < 0.5 else f"/v1/orders?n={source.randrange(9)}"
    version = source.choice(VERSIONS) if odd else "HTTP/1.1"
    headers = ["Host: x", f"Authorization: Bearer {token}"]
    body = b""
    if odd:
        headers += source.sample(HEADERS, source.randrange(3))
        body = source.choice(BODIES)
    elif method in ("POST", "PUT", "PATCH"):
        body = b"b" * source.randrange(40)
        headers += [f"Content-Length: {len(body)}", "X-Idempotency-Key: k"]
    source.shuffle(headers)
    return "\r\n".join([f"{method} {target} {version}", *headers, "", ""]).encode("latin-1") + body


async def converse(router: RouterUnderTest, pieces: list[bytes]) -> tuple[list[int], list[tuple[str, str, bytes]]]:
    """The statuses of all answers, and what the cells saw."""
    cells = router.cells.values()
    for cell in cells:
        cell.seen.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**20)
    statuses: list[int] = []
    async with asyncio.timeout(10):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        with contextlib.suppress(OSError):  # refused and closed already
            writer.write_eof()
        try:
            while True:
                status = (await read_answer(reader)).status
                if status != 100:
                    statuses.append(status)
        except asyncio.IncompleteReadError as end:
            half = end.partial
        except ConnectionError:
            half = b""
    assert half == b""
    writer.close()
    seen = [request for cell in cells for request in cell.seen]
    for request in seen:
        judge(request)
    return statuses, [(request.method, request.target, request.body) for request in seen]


def judge(request: SeenRequest) -> None:
    names = [name.lower() for name, _ in request.headers]
    for name in ("host", "x-route-token", "x-request-id", "traceparent", "x-deadline-ms"):
        assert names.count(name) == 1, (name, request)
    assert names.count("content-length") <= 1
    assert not {"transfer-encoding", "connection", "upgrade", "authorization", "x_route_token", "expect"} & set(names)
    assert request.header("x-route-token") != "forged"
    assert request.target.startswith("/v1/")
    assert ".." not in request.target
    assert "internal" not in request.target


async def test_the_same_bytes_mean_the_same_however_they_are_cut(router: RouterUnderTest) -> None:
    seed = random.SystemRandom().randrange(2**32)
    source = random.Random(seed)
    token = router.token_of(router.user_of("cell-1"))
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    for round_ in range(ROUNDS):
        raw = b"".join(one_request(source, token) for _ in range(source.randrange(1, 5)))
        cuts = sorted(source.randrange(len(raw) + 1) for _ in range(source.randrange(1, 8)))
        pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]
        whole, cut = await converse(router, [raw]), await converse(router, pieces)
        said = f"seed {seed}, round {round_}: {raw!r} cut at {cuts}"
        assert whole == cut, said
        assert all(status < 500 or status == 505 for status in whole[0]), said
        assert not failures, said
    cell = router.router.fleet.cell(router.shard_map.cells[0].cell_id)
    assert (cell.bulkhead.in_flight, cell.bulkhead.queued, len(router.router.tasks)) == (0, 0, 0)
