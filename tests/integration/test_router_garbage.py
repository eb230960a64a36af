"""Whatever a cell says, its customer gets one well-formed answer in time, and the next request is served."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.settings import UpstreamSettings
from tests.support.raw_http import Answer, read_answer
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest, answer

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\n"
ACCEPTED = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


@pytest.fixture(scope="module")
async def router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RouterUnderTest]:
    """One for all: none of this may leave a trace in it."""
    upstream = UpstreamSettings(deadline_s=1.0, breaker_failures=1_000)
    async with running_router(tmp_path_factory.mktemp("router"), upstream=upstream) as running:
        yield running


def sized(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


async def ask(router: RouterUnderTest, raw: bytes) -> Answer:
    """A write to a cell that says this, on a connection that must then serve a usual one; nothing is left behind."""

    async def say(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        if raw.endswith(b"\r\n\r\n<close>"):
            writer.close()

    cell, user_id = router.cells["cell-1"], router.user_of("cell-1")
    head = f"Host: x\r\nAuthorization: Bearer {router.token_of(user_id)}\r\n"
    write = f"POST /v1/orders HTTP/1.1\r\n{head}X-Idempotency-Key: k\r\nContent-Length: 2\r\n\r\n{{}}"
    usual = cell.behave
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**20)
    try:
        async with asyncio.timeout(10):
            cell.behave = say
            writer.write(write.encode())
            got = await read_answer(reader)
            cell.behave = usual
            writer.write(f"GET /v1/account HTTP/1.1\r\n{head}\r\n".encode())
            assert (await read_answer(reader)).json()["cell"] == "cell-1"
    finally:
        cell.behave = usual
        writer.close()
    upstream = router.router.fleet.cell(router.shard_map.cells[0].cell_id)
    assert (upstream.bulkhead.in_flight, upstream.bulkhead.queued) == (0, 0)
    assert not len(router.router.tasks)
    assert not router.router.holding.queues
    return got


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x16\x03\x01\x02\x00" * 9,
        OK + b"content-length: 2\r\n\r\n{}" + OK + b"content-length: 5\r\n\r\nhello",  # two answers to one request
        OK + b"content-length: 2\r\n\r\n{}HTTP/1.1 2",
        OK + b"content-length: 2\r\n\r\n{}x",
        OK + b"content-length: 9\r\n\r\nhalf<close>",
        OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"content-length: -1\r\n\r\n",
        OK + b"content-length: 2, 2\r\n\r\n{}",
        OK + b"x: folded\r\n over\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x: a\nset-cookie: b\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x\x00y: a\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\ncontent-length: 9\r\n\r\n",
        OK + b"x: " + b"y" * 400_000,  # a header without an end
        (OK + b"x: y\r\n" * 20_000),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        sized(b"600 Beyond", b"{}"),
        sized(b"999 Far beyond", b"{}"),
        sized(b"99 Below", b"{}"),
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
    ],
    ids=lambda raw: f"{raw[:24]!r}..{raw[-12:]!r}",
)
async def test_what_is_no_answer_ends_in_a_clean_refusal(router: RouterUnderTest, raw: bytes) -> None:
    got = await ask(router, raw)
    assert (got.status, got.code) == (503, "OUTCOME_UNKNOWN")


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":"\xff","detail":"USER_HALTED"}',
        b'{"code":"USER_HALTED","lease_ends_at":"0001-01-01T00:00:00+14:00","x":' + b"[" * 50_000,
        b'"USER_HALTED"',
        b'{"code":["USER_HALTED"]}',
    ],
    ids=lambda body: f"{body[:24]!r}",
)
async def test_a_refusal_that_cannot_be_read_is_passed_on_as_it_is(router: RouterUnderTest, body: bytes) -> None:
    got = await ask(router, sized(b"503 No", body))
    assert (got.status, got.body) == (503, body)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b'{"owner":"\xff"}', b'{"x":' + b"[" * 50_000, b'{"epoch":1e999}'],
    ids=lambda body: f"{body[:24]!r}",
)
async def test_a_421_that_cannot_be_read_gives_no_hint(router: RouterUnderTest, body: bytes) -> None:
    got = await ask(router, sized(b"421 No", body))
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")


async def test_interim_answers_and_trailers_are_no_part_of_the_answer(router: RouterUnderTest) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    chunked = b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nset-cookie: a\r\nx-trailer: b\r\n\r\n"
    got = await ask(router, interim + OK + b"x-mine: c\r\n" + chunked)
    assert (got.status, got.body, got.headers["x-mine"]) == (200, b"{}", "c")
    assert not {"link", "set-cookie", "x-trailer"} & set(got.headers)


async def test_an_answer_until_the_end_of_the_connection_is_passed_on(router: RouterUnderTest) -> None:
    got = await ask(router, OK + b"\r\n<close>")
    assert (got.status, got.body) == (200, b"<close>")


async def test_a_websocket_may_be_preceded_by_interim_answers(router: RouterUnderTest) -> None:
    cell = router.cells["cell-1"]
    usual = cell.behave

    async def hint_first(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ACCEPTED)

    async def nonsense(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(999, {}))

    token = router.token_of(router.user_of("cell-1"))
    upgrade = f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: upgrade\r\n"
    for behave, status in ((hint_first, b"101"), (nonsense, b"503")):
        cell.behave = behave
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(f"{upgrade}Upgrade: websocket\r\n\r\n".encode())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
        assert b"link" not in head
        writer.close()
    cell.behave = usual
