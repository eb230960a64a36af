"""Large answers to readers who are slow, stop, or leave: nobody else pays for them, neither the next request on the
same connection to the cell nor the cell's breaker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router import forward
from router.fleet import Upstream
from router.settings import UpstreamSettings
from tests.support.eventually import eventually
from tests.support.raw_http import read_answer, request_bytes
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest, chunked

pytestmark = pytest.mark.anyio
CHUNK = b"x" * 4_096
LAST = b"y" * 16_384
HIGH_WATER = 65_536
FAILURES = 3


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    upstream = UpstreamSettings(deadline_s=3.0, breaker_failures=FAILURES)
    async with running_router(tmp_path, upstream=upstream) as running:
        yield running


def upstream(router: RouterUnderTest) -> Upstream:
    return router.router.fleet.cell(router.shard_map.cells[0].cell_id)


async def endless(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(chunked(CHUNK * 16))
        await writer.drain()


async def test_a_connection_whose_last_piece_waits_for_a_slow_reader_serves_the_next_request(
    router: RouterUnderTest,
) -> None:
    async def fill_then_end(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        if request.target != "/v1/ledger":
            await router.cells["cell-1"].succeed(request, writer)
            return
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        (client,) = router.clients()
        while client.transport.get_write_buffer_size() < HIGH_WATER - len(LAST):
            writer.write(chunked(CHUNK))
            await asyncio.sleep(0.001)
        writer.write(chunked(LAST) + b"0\r\n\r\n")  # in one piece: the router is told to stop, and that it is the end

    router.cells["cell-1"].behave = fill_then_end
    token = router.token()
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**17)
    writer.write(request_bytes("GET", "/v1/ledger", {"Authorization": f"Bearer {token}"}))
    (server,) = upstream(router).servers

    async def is_given_back() -> bool:
        return server.idle_count == 1

    await eventually(is_given_back)
    assert (await router.ask("GET", "/v1/account", token=token)).status == 200
    assert router.cells["cell-1"].connections == 1
    async with asyncio.timeout(10):
        assert (await read_answer(reader)).body.endswith(LAST)
    writer.close()


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
