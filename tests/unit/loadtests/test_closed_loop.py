"""A measurement counts every answer, reads each to its end, and stops at a broken connection."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtests.measurement.closed_loop import drive
from loadtests.measurement.raw_http import ConnectionBroken, answer_end, build_request

pytestmark = pytest.mark.anyio

PLAIN = b"HTTP/1.1 201 Created\r\nX-Cell: cell-1\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
def test_an_answer_ends_where_its_head_says(answer: bytes) -> None:
    assert answer_end(answer) == len(answer)
    assert all(answer_end(answer[:length]) is None for length in range(len(answer)))


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    assert answer_end(EMPTY) == len(EMPTY)


@pytest.mark.parametrize("held", [b"SSH-2.0-OpenSSH\r\n\r\n", b"x" * 70_000])
def test_what_is_no_answer_breaks_the_measurement(held: bytes) -> None:
    with pytest.raises(ConnectionBroken):
        answer_end(held)


@asynccontextmanager
async def server_of(answers: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_every_request_is_answered_and_counted() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["X-Idempotency-Key"])
        assert await request.read() == b"{}"
        return web.json_response({}, status=429 if seen[-1] == "2-0" else 201)

    async with server_of(answer) as url:

        def request_of(lane: int, number: int) -> bytes:
            return build_request("POST", f"{url}/v1/orders", {"X-Idempotency-Key": f"{lane}-{number}"}, b"{}")

        result = await drive(url, request_of, connections=4, seconds=0.2, wanted=201)
    assert sum(result.statuses.values()) == len(seen) == len(set(seen)) == len(result.latencies_s)
    assert result.statuses[429] == 1
    assert result.first_bad is not None
    assert "429" in result.first_bad
    assert result.elapsed_s >= 0.2


def test_it_measures_on_uvloop_as_the_command_line_does() -> None:
    async def measure() -> int:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text="hello")

        async with server_of(answer) as url:
            request = build_request("GET", f"{url}/", {})
            result = await drive(url, lambda lane, number: request, connections=2, seconds=0.05, wanted=200)
            return result.statuses[200]

    assert uvloop.run(measure()) > 0


async def test_a_connection_that_ends_is_an_error_not_a_slow_answer() -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with server_of(hang_up) as url:
        with pytest.raises(ConnectionBroken, match="connection 0 ended"):
            await drive(
                url, lambda lane, number: build_request("GET", f"{url}/", {}), connections=1, seconds=1, wanted=200
            )
