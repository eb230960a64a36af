"""Large answers to readers who are slow, stop, or leave: nobody else pays for them, neither the next request on the
same connection to the cell nor the cell's breaker."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router import forward
from router.fleet import CellUpstream
from router.settings import UpstreamSettings
from tests.support.eventually import eventually
from tests.support.raw_http import read_answer, request_bytes
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest

pytestmark = pytest.mark.anyio
TOO_LARGE_TO_WAIT_FOR = 2**20 + 100_000
FAILURES = 3


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    upstream = UpstreamSettings(deadline_s=3.0, breaker_failures=FAILURES)
    async with running_router(tmp_path, upstream=upstream) as running:
        yield running


def upstream(router: RouterUnderTest) -> CellUpstream:
    return router.router.fleet.cell(router.shard_map.cells[0].cell_id)


async def endless(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n%b\r\n" % (b"x" * 65_536))
        await writer.drain()


async def slow_client(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=narrow, limit=4_096)


async def test_a_connection_that_a_slow_reader_held_back_serves_the_next(router: RouterUnderTest) -> None:
    async def large(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        cell.behave = usual
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % TOO_LARGE_TO_WAIT_FOR)
        writer.write(b"x" * TOO_LARGE_TO_WAIT_FOR)

    cell, token = router.cells["cell-1"], router.token()
    usual, cell.behave = cell.behave, large
    reader, writer = await slow_client(router.port)
    await asyncio.sleep(0)
    await eventually(lambda: has_client(router))
    (client,) = router.router.forwarder.clients
    client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    request = request_bytes("GET", "/v1/ledger", {"Authorization": f"Bearer {token}"})
    writer.write(request)
    async with asyncio.timeout(20):
        assert len((await read_answer(reader)).body) == TOO_LARGE_TO_WAIT_FOR
        writer.write(request)
        assert (await read_answer(reader)).status == 200
    writer.close()
    assert cell.connections == 1


async def has_client(router: RouterUnderTest) -> bool:
    return bool(router.router.forwarder.clients)


async def test_who_leaves_in_the_middle_of_an_answer_says_nothing_about_the_cell(router: RouterUnderTest) -> None:
    cell, token = router.cells["cell-1"], router.token()
    usual, cell.behave = cell.behave, endless
    request = request_bytes("GET", "/v1/ledger", {"Authorization": f"Bearer {token}"})
    clients = [await asyncio.open_connection("127.0.0.1", router.port) for _ in range(FAILURES + 1)]
    async with asyncio.timeout(20):
        for _, writer in clients:
            writer.write(request)
        for reader, _ in clients:
            await reader.readuntil(b"\r\n\r\n")
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: is_empty(router))
    cell.behave = usual
    assert upstream(router).servers[0].breaker.failures_in_a_row == 0
    assert upstream(router).figures.broken == 0
    assert (await router.ask("GET", "/v1/account", token=token)).status == 200


async def is_empty(router: RouterUnderTest) -> bool:
    return upstream(router).bulkhead.in_flight == 0


async def test_who_stops_reading_is_cut_off_and_says_nothing_about_the_cell(
    router: RouterUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_STREAM_STALL_S", 0.3)
    cell, token = router.cells["cell-1"], router.token()
    usual, cell.behave = cell.behave, endless
    request = request_bytes("GET", "/v1/ledger", {"Authorization": f"Bearer {token}"})
    clients = [await asyncio.open_connection("127.0.0.1", router.port, limit=1_024) for _ in range(FAILURES + 1)]
    async with asyncio.timeout(20):
        for _, writer in clients:
            writer.write(request)
        for reader, _ in clients:
            await reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: is_empty(router))
    cell.behave = usual
    assert upstream(router).servers[0].breaker.failures_in_a_row == 0
    assert (await router.ask("GET", "/v1/account", token=token)).status == 200
    for _, writer in clients:
        with contextlib.suppress(OSError):
            writer.transport.abort()
