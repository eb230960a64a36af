"""WebSockets pass through to the owner's cell: judged once, then bytes both ways."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.settings import AccessLogSettings, UpstreamSettings
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import read_answer
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest, StubCell, answer

pytestmark = pytest.mark.anyio

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Cell: cell-1\r\n\r\n"
)


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    async with running_router(tmp_path) as running:
        yield running


class EchoCell:
    """Accepts the upgrade, greets in the same packet, then sends back whatever comes, doubled."""

    def __init__(self, cell: StubCell) -> None:
        self.cell = cell
        self.ended = asyncio.Event()
        self.seen: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ACCEPTED + b"hello")
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data * 2)
                await writer.drain()
        self.ended.set()
        writer.close()


@pytest.fixture
async def echo(router: RouterUnderTest) -> AsyncIterator[EchoCell]:
    cell = router.cells["cell-1"]
    echo = EchoCell(cell)
    await cell.die()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", cell.port)
    yield echo
    server.close()


def upgrade(token: str, *more: str) -> bytes:
    lines = [
        "GET /v1/stream?x=1 HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", *more,
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


async def test_bytes_pass_both_ways_after_the_upgrade(router: RouterUnderTest, echo: EchoCell) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(upgrade(router.token(), "X-Route-Token: forged") + b"early")
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert await reader.readexactly(5 + 10) == b"helloearlyearly"
        for size in (1, 1000, 300_000):
            writer.write(b"z" * size)
            assert await reader.readexactly(2 * size) == b"z" * 2 * size
    (seen,) = echo.seen
    assert b"GET /v1/stream?x=1 HTTP/1.1" in seen
    assert b"upgrade: websocket\r\n" in seen
    assert b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==" in seen
    assert b"forged" not in seen
    assert seen.count(b"x-route-token: ") == 1
    assert b"uthorization" not in seen
    cell = router.router.fleet.cell(router.shard_map.cells[0].cell_id)
    assert (cell.tunnels, cell.bulkhead.in_flight) == (1, 0)
    assert_moved(router.router.metrics.render(), "router_tunnels")
    writer.close()
    await asyncio.wait_for(echo.ended.wait(), 5)
    await eventually(lambda: no_tunnels(router))
    assert cell.tunnels == 0


async def test_a_reader_that_stalls_stalls_the_cell_and_nothing_is_hoarded(
    router: RouterUnderTest, echo: EchoCell
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=1024)
    writer.write(upgrade(router.token()))
    await reader.readuntil(b"\r\n\r\n")
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 200_000_000:
            writer.write(b"z" * 100_000)
            sent += 100_000
            await asyncio.wait_for(writer.drain(), 0.5)
    assert sent < 100_000_000
    writer.transport.abort()
    await asyncio.wait_for(echo.ended.wait(), 5)


async def test_the_cells_end_ends_the_clients(router: RouterUnderTest) -> None:
    async def accept_and_leave(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTED + b"bye")
        writer.close()

    router.cells["cell-1"].behave = accept_and_leave
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(upgrade(router.token()))
    async with asyncio.timeout(5):
        assert (await reader.read()).endswith(b"\r\n\r\nbye")
    writer.close()


async def test_what_is_not_accepted_is_an_ordinary_answer(router: RouterUnderTest) -> None:
    async def refuse(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(404, {"code": "NOT_FOUND", "detail": "no stream here", "status": 404}))

    router.cells["cell-1"].behave = refuse
    for token, status in ((router.token(), 404), ("nonsense", 401)):
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(upgrade(token))
        async with asyncio.timeout(5):
            got = await read_answer(reader)
            assert (got.status, await reader.read()) == (status, b"")
        writer.close()
    await router.cells["cell-1"].die()
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(upgrade(router.token()))
    async with asyncio.timeout(5):
        got = await read_answer(reader)
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")
    writer.close()


async def test_a_revoked_users_stream_ends(router: RouterUnderTest, echo: EchoCell) -> None:
    user_id = router.user_of("cell-1")
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(upgrade(router.token_of(user_id)))
    await reader.readuntil(b"hello")
    router.router._revoke({user_id})
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


class FrameCell:
    """Sends what a test says, and remembers what it gets."""

    def __init__(self) -> None:
        self.heard = b""
        self.writer: asyncio.StreamWriter
        self.ended = asyncio.Event()
        self.asked = asyncio.Event()
        self.agrees = asyncio.Event()
        self.agrees.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.writer = writer
        self.asked.set()
        await self.agrees.wait()
        writer.write(ACCEPTED)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.heard += data
        self.ended.set()
        writer.close()


@pytest.fixture
async def frames(router: RouterUnderTest) -> AsyncIterator[FrameCell]:
    cell, frames = router.cells["cell-1"], FrameCell()
    await cell.die()
    server = await asyncio.start_server(frames.serve, "127.0.0.1", cell.port)
    yield frames
    server.close()


MESSAGE = b"\x81\x05hello"


async def test_a_router_that_drains_says_goodbye_between_two_frames(router: RouterUnderTest, frames: FrameCell) -> None:
    user_id = router.user_of("cell-1")
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(upgrade(router.token_of(user_id)))
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
        frames.writer.write(MESSAGE + MESSAGE[:4])
        await reader.readexactly(11)
        (client,) = router.clients()
        client.drain()
        frames.writer.write(MESSAGE[4:] + b"never passed on")
        assert await reader.readexactly(3 + 4) == MESSAGE[4:] + b"\x88\x02\x03\xf4"  # 1012: service restart
        writer.write(b"\x88\x82\0\0\0\0\x03\xf4")
        assert await reader.read() == b""
        await frames.ended.wait()
    assert frames.heard == b"\x88\x82\0\0\0\0\x03\xf4"
    writer.close()


@pytest.mark.parametrize("how", ["drained", "revoked"])
async def test_what_was_only_about_to_open_ends_like_what_is_open(
    router: RouterUnderTest, frames: FrameCell, how: str
) -> None:
    frames.agrees.clear()
    user_id = router.user_of("cell-1")
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(upgrade(router.token_of(user_id)))
    async with asyncio.timeout(5):
        await frames.asked.wait()
        if how == "drained":
            (client,) = router.clients()
            client.drain()
        else:
            router.router.revoked._merge({user_id: int(time.time()) + 5})
        frames.agrees.set()
        got = await reader.read()
        await frames.ended.wait()
    assert got.startswith(b"HTTP/1.1 101 " if how == "drained" else b"HTTP/1.1 401 ")
    assert got.endswith(b"\x88\x02\x03\xf4") == (how == "drained")
    assert len(router.router.tunnels) == 0
    writer.close()


async def test_a_revoked_user_gets_a_close_frame(router: RouterUnderTest, frames: FrameCell) -> None:
    user_id = router.user_of("cell-1")
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(upgrade(router.token_of(user_id)))
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
        router.router._revoke({user_id})
        assert await reader.read() == b"\x88\x02\x03\xf0"  # 1008: policy violation
        await frames.ended.wait()
    writer.close()


async def test_a_client_that_has_just_left_does_not_keep_other_streams_from_their_end(
    router: RouterUnderTest, frames: FrameCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is gone a moment after its client; writing to a closed connection is an error with uvloop."""
    user_id = router.user_of("cell-1")
    token = router.token_of(user_id)
    clients = [await asyncio.open_connection("127.0.0.1", router.port) for _ in range(4)]
    async with asyncio.timeout(5):
        for reader, writer in clients:
            writer.write(upgrade(token))
            await reader.readuntil(b"\r\n\r\n")
        gone = router.clients()[0]
        assert gone.active is not None
        gone.active.client_left()
        write = type(gone.transport).write

        def refuse(transport: asyncio.Transport, data: bytes) -> None:
            if transport is gone.transport:
                raise RuntimeError("the handler is closed")
            write(transport, data)

        monkeypatch.setattr(type(gone.transport), "write", refuse)
        router.router._revoke({user_id})
        await eventually(lambda: no_tunnels(router))
    for _, writer in clients:
        writer.close()


async def no_tunnels(router: RouterUnderTest) -> bool:
    return not len(router.router.tunnels)


async def test_streams_that_are_being_opened_count_too(tmp_path: Path) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def late(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await release.wait()
        writer.write(ACCEPTED)

    async with running_router(tmp_path, upstream=UpstreamSettings(tunnels_max=1)) as router, asyncio.timeout(10):
        router.cells["cell-1"].behave = late
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(upgrade(router.token()))
        await asked.wait()
        second_reader, second = await asyncio.open_connection("127.0.0.1", router.port)
        second.write(upgrade(router.token()))
        assert (await read_answer(second_reader)).code == "OVERLOADED"
        second.close()
        release.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.close()


async def test_the_access_log_samples_and_never_leaves_out_a_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "router.access")
    async with running_router(tmp_path, access_log=AccessLogSettings(one_in=5, lines_per_s_max=50)) as router:
        user_id = router.user_of("cell-1")
        token = router.token_of(user_id)
        for _ in range(10):
            await router.ask("GET", "/v1/orders?secret=1", token=token)
        await router.cells["cell-1"].die()
        failed = await router.ask("GET", "/v1/orders", token=token)
        assert failed.status == 503
    lines = [vars(record) for record in caplog.records if record.name == "router.access"]
    assert [line["status"] for line in lines] == [200, 200, 503]
    assert lines[0]["path"] == "/v1/orders"
    assert (lines[0]["user_id"], lines[0]["cell"], lines[0]["map_epoch"]) == (str(user_id), "cell-1", 1)
    assert (lines[2]["code"], lines[2]["request_id"]) == ("CELL_UNAVAILABLE", failed.headers["x-request-id"])
    assert lines[0]["duration_ms"] > 0
    text = json.dumps([{name: str(value) for name, value in line.items()} for line in lines])
    assert "secret" not in text
    assert token not in text


async def test_the_access_log_drops_what_is_too_many_and_counts_it(tmp_path: Path) -> None:
    async with running_router(tmp_path, access_log=AccessLogSettings(one_in=1, lines_per_s_max=1)) as router:
        token = router.token()
        await asyncio.gather(*(router.ask("GET", "/v1/orders", token=token) for _ in range(20)))
        assert_moved(router.router.metrics.render(), "router_access_log_lines_dropped_total")
