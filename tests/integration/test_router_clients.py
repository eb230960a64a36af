"""Limits and bad manners at the customers' port."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import exchange, read_answer, request_bytes
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RouterUnderTest]:
    """One for all: what a client sends leaves nothing behind."""
    edge = {"request_read_s": 1.0, "keep_alive_s": 2.0}
    async with running_router(tmp_path_factory.mktemp("router"), edge=edge) as running:
        yield running


@pytest.fixture
async def router(shared: RouterUnderTest) -> RouterUnderTest:
    for client in shared.clients():
        client.transport.abort()
    await asyncio.sleep(0)
    for cell in shared.cells.values():
        cell.behave = cell.succeed
        cell.seen.clear()
    return shared


async def test_bodies_have_a_limit_announced_or_not(router: RouterUnderTest) -> None:
    token = router.token()
    fits = await router.ask("POST", "/v1/orders", token=token, key="k", body=b"x" * 65_536)
    assert fits.status == 200
    over = await router.ask("POST", "/v1/orders", token=token, key="k", body=b"x" * 65_537)
    assert (over.status, over.code) == (413, "BODY_TOO_LARGE")
    assert over.headers["connection"] == "close"
    head = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = head.encode() + b"10000\r\n" + b"x" * 65_536 + b"\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
    assert (await exchange(router.port, chunked)).status == 413
    claimed = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: {10**30}\r\n\r\n".encode()
    assert (await exchange(router.port, claimed)).status in (400, 413)
    signup = await router.ask("POST", "/v1/users", key="k", body=b"x" * 65_537)
    assert signup.status == 413
    assert len(router.cells["cell-1"].seen) == 1


async def test_chunked_requests_arrive_with_a_length(router: RouterUnderTest) -> None:
    auth = f"Authorization: Bearer {router.token()}"
    head = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = await exchange(router.port, head.encode() + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert got.status == 200
    seen = router.cells["cell-1"].seen[-1]
    assert (seen.body, seen.header("content-length"), seen.header("transfer-encoding")) == (b"abcde", "5", None)


async def test_heads_have_limits(router: RouterUnderTest) -> None:
    token = router.token()
    big = await router.ask("GET", "/v1/account", token=token, headers={"X-Big": "x" * 20_000})
    assert (big.status, big.code) == (431, "HEADERS_TOO_LARGE")
    many = await router.ask("GET", "/v1/account", token=token, headers={f"X-{i}": "1" for i in range(150)})
    assert many.status == 431
    endless = await exchange(router.port, b"GET /v1/account HTTP/1.1\r\nX-Endless: " + b"x" * 200_000)
    assert endless.status in (400, 431)
    assert (await router.ask("GET", "/v1/" + "x" * 5000, token=token)).status == 414
    assert router.cells["cell-1"].seen == []


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: gzip, identity",
        "Transfer-Encoding : chunked",
        "X-A: 1\r\n folded: 2",
        "X-A: a\x00b",
        " X-Leading: 1",
        "Content-Length: 5\nX-A: bare line feed",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
        "Host: another",
        "Content-Length: 0x5",
        "X-A: a\rX-Route-Token: injected",
    ],
)
async def test_ambiguous_requests_are_refused_and_the_connection_closed(router: RouterUnderTest, head: str) -> None:
    raw = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {router.token()}\r\n{head}\r\n\r\n"
    smuggled = b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(raw.encode("latin-1") + smuggled)
    async with asyncio.timeout(5):
        got = await reader.read()
    writer.close()
    assert got == b"" or got.startswith(b"HTTP/1.1 400")
    assert got.count(b"content-length: ") <= 1
    assert router.cells["cell-1"].seen == []


@pytest.mark.parametrize(
    "chunks",
    [
        b"3\nabc\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nabc\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3;x\nabc\r\n0\r\n\r\n", b"zz\r\n",
        b"3\r\nabc\r\n0\r\nContent-Length: 7\r\n\r\n", b"3\r\nabc\r\n0\r\nConnection: close\r\n\r\n",
        b"3\r\nabc\r\n0\r\nProxy-Connection: close\r\n\r\n", b"1\r\na\r\n" * 200_000,
    ],
)  # fmt: skip
async def test_a_badly_chunked_body_is_refused_and_the_connection_closed(
    router: RouterUnderTest, chunks: bytes
) -> None:
    auth = f"Authorization: Bearer {router.token()}"
    head = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(head.encode() + chunks + b"GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        got = b""
        with contextlib.suppress(ConnectionError):
            got = await reader.read()
    writer.close()
    assert got == b"" or got.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
    assert got.count(b"content-length: ") <= 1
    assert router.cells["cell-1"].seen == []


async def test_a_trailer_never_passes_for_a_header(router: RouterUnderTest) -> None:
    auth = f"Authorization: Bearer {router.token()}"
    trailer = b"X-Route-Token: forged\r\nX-Idempotency-Key: late\r\nX-Request-Id: late\r\n"
    for target in ("/v1/orders", "/v1/tokens"):
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\n"
        got = await exchange(router.port, head.encode() + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n")
        assert got.headers.get("x-request-id") != "late", got
    (seen,) = router.cells["cell-1"].seen
    assert seen.header("x-idempotency-key") is None
    assert [name for name, value in seen.headers if "late" in value or "forged" in value] == []


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET ftp://elsewhere/v1/account HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://somebody@elsewhere/v1/account HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http:///v1/account HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://elsewhere/v1/account HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"TRACE /v1/account HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v1/account HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/account\r\n\r\n", 505),
        (b"GET /v1/account HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"get /v1/account HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v1/account\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /v1/orders HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)
async def test_what_is_not_plain_http_1_is_refused(router: RouterUnderTest, raw: bytes, status: int) -> None:
    got = await exchange(router.port, raw)
    assert (got.status, got.headers["connection"]) == (status, "close")


async def test_a_method_that_is_not_served_is_answered_with_those_that_are(router: RouterUnderTest) -> None:
    got = await exchange(router.port, b"TRACE /v1/account HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD, POST, PATCH, DELETE, OPTIONS")


async def test_many_pipelined_requests_in_one_packet_are_all_answered(router: RouterUnderTest) -> None:
    token, count = router.token(), 400
    raw = b"".join(
        request_bytes("GET", f"/v1/orders/{number}", {"Authorization": f"Bearer {token}"}) for number in range(count)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**22)
    writer.write(raw)
    async with asyncio.timeout(15):
        answers = [await read_answer(reader) for _ in range(count)]
    writer.close()
    assert [got.json()["target"] for got in answers] == [f"/v1/orders/{number}" for number in range(count)]


async def test_a_client_that_sends_far_too_much_still_reads_why_it_was_refused(router: RouterUnderTest) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    token = router.token()
    known = request_bytes("GET", "/v1/account", {"Authorization": f"Bearer {token}"})
    writer.write(known + request_bytes("POST", "/v1/orders", {"Authorization": f"Bearer {token}"}, b"x" * 3_000_000))
    async with asyncio.timeout(10):
        assert (await read_answer(reader)).status == 200
        got = await read_answer(reader)
        assert (got.status, got.headers["connection"]) == (413, "close")
        assert await reader.read() == b""
    writer.close()


async def test_a_half_closed_client_still_gets_its_answers(router: RouterUnderTest) -> None:
    release = asyncio.Event()
    cell = router.cells["cell-1"]
    usual = cell.behave

    async def later(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await usual(request, writer)

    cell.behave = later
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(request_bytes("GET", "/v1/account", {"Authorization": f"Bearer {router.token()}"}) * 2)
    writer.write_eof()
    await asyncio.sleep(0.1)  # nothing happens: the router has read the end, and goes on waiting for the cell
    release.set()
    async with asyncio.timeout(10):
        assert [(await read_answer(reader)).status for _ in range(2)] == [200, 200]
        assert await reader.read() == b""
    writer.close()


async def test_a_refused_head_has_no_body_that_could_pass_for_the_next_answer(router: RouterUnderTest) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(request_bytes("HEAD", "/v1/account") + request_bytes("GET", "/v1/account"))
    async with asyncio.timeout(10):
        assert (await read_answer(reader, is_head=True)).status == 401
        assert (await read_answer(reader)).code == "TOKEN_INVALID"
    writer.close()


async def test_thousands_that_end_at_once_may_follow_one_that_waits(router: RouterUnderTest) -> None:
    known = request_bytes("GET", "/v1/account", {"Authorization": f"Bearer {router.token()}"})
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**22)
    writer.write(known + request_bytes("GET", "/v1/account") * 2_000 + known)
    async with asyncio.timeout(15):
        got = [(await read_answer(reader)).status for _ in range(2_002)]
    writer.close()
    assert got == [200] + [401] * 2_000 + [200]


async def test_a_client_that_does_not_read_its_answers_is_not_listened_to(router: RouterUnderTest) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=1_024)
    one, sent = request_bytes("GET", "/v1/account"), 0
    with contextlib.suppress(TimeoutError):
        while sent < 1_000_000:
            writer.write(one * 1_000)
            sent += 1_000
            await asyncio.wait_for(writer.drain(), 0.5)
    assert sent < 1_000_000
    (client,) = router.clients()
    assert client.transport.get_write_buffer_size() < 1_000_000
    assert len(client.pipeline) < 1_000
    async with asyncio.timeout(15):
        for _ in range(2_000):  # once the client reads, it goes on
            assert (await read_answer(reader)).status == 401
    writer.transport.abort()


async def test_a_client_that_sends_its_head_slowly_or_nothing_is_cut_off(tmp_path: Path) -> None:
    async with running_router(tmp_path, edge={"head_read_s": 0.5, "first_byte_s": 0.5}) as router:
        for first in (b"", b"GET /v1/acc"):
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(first)
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(5):
                    assert await reader.read() == b""
            assert time.monotonic() - began > 0.3
            writer.close()
        assert router.clients() == []


async def test_connections_are_bounded_per_address_and_in_all(tmp_path: Path) -> None:
    async with running_router(tmp_path, edge={"clients_per_address_max": 3}) as router:
        kept = [await asyncio.open_connection("127.0.0.1", router.port) for _ in range(3)]

        async def are_counted(count: int) -> bool:
            return len(router.router.clients) == count

        await eventually(lambda: are_counted(3))
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        kept[0][1].close()
        await eventually(lambda: are_counted(2))
        assert (await router.ask("GET", "/v1/account", token=router.token())).status == 200
        for _, open_writer in kept:
            open_writer.close()
        assert router.router.clients.refused == 1
        assert_moved(router.router.metrics.render(), "router_client_connections_refused_total")


async def test_doubled_identity_or_key_is_refused(router: RouterUnderTest) -> None:
    auth = f"Authorization: Bearer {router.token()}\r\n"
    for doubled in (auth + auth, auth + "X-Idempotency-Key: a\r\nX-Idempotency-Key: b\r\n"):
        raw = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{doubled}\r\n{{}}"
        got = await exchange(router.port, raw.encode())
        assert (got.status, got.code) == (400, "INVALID_FIELD")
    assert router.cells["cell-1"].seen == []


async def test_identity_is_doubled_also_if_it_says_nothing_the_first_time(router: RouterUnderTest) -> None:
    raw = f"GET /v1/account HTTP/1.1\r\nHost: x\r\nAuthorization:\r\nAuthorization: Bearer {router.token()}\r\n\r\n"
    assert (await exchange(router.port, raw.encode())).status == 400


async def test_nothing_is_done_of_what_follows_the_last_answer_of_a_draining_router(router: RouterUnderTest) -> None:
    """Answered at once, since it names no customer: what follows in the same packet is not read any more."""
    write = {"Authorization": f"Bearer {router.token()}", "X-Idempotency-Key": "k"}
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    async with asyncio.timeout(5):
        writer.write(request_bytes("GET", "/v1/account"))
        assert (await read_answer(reader)).status == 401
        (client,) = router.clients()
        client.drain()
        writer.write(request_bytes("GET", "/v1/account") + request_bytes("POST", "/v1/orders", write, b"{}"))
        assert (await read_answer(reader)).headers["connection"] == "close"
        assert await reader.read() == b""
    writer.close()
    assert (await router.ask("GET", "/v1/account", token=router.token())).status == 200
    assert [seen.method for seen in router.cells["cell-1"].seen] == ["GET"]
    assert router.router.fleet.cell(router.shard_map.cells[0].cell_id).bulkhead.in_flight == 0


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
async def test_a_bad_body_for_a_page_is_refused_whether_it_had_begun_or_not(
    router: RouterUnderTest, pause_s: float
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    async with asyncio.timeout(5):
        head = b"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(pause_s)
        writer.write(b"no chunk\r\n")
        got = await read_answer(reader)
        assert (got.status, got.headers["connection"], await reader.read()) == (400, "close", b"")
    writer.close()


async def test_a_page_is_asked_with_a_whole_request_and_answers_once(router: RouterUnderTest) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest, statuses in ((b"1\r\nx\r\n0\r\n\r\nNOT HTTP AT ALL\r\n\r\n", [404, 400]), (b"no chunk\r\n", [400])):
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        async with asyncio.timeout(5):
            writer.write(head)
            await writer.drain()
            writer.write(rest)
            assert [(await read_answer(reader)).status for _ in statuses] == statuses
            assert await reader.read() == b""
        writer.close()


async def test_a_bad_second_request_is_never_taken_for_the_first_ones_answer(router: RouterUnderTest) -> None:
    first = request_bytes("GET", "/v1/first", {"Authorization": f"Bearer {router.token()}"})
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(first + b"NOT HTTP AT ALL\r\n\r\n")
    async with asyncio.timeout(5):
        got = await reader.read()
    writer.close()
    assert got == b"" or got.startswith(b"HTTP/1.1 200")


async def test_a_client_that_sends_slowly_is_cut_off_and_holds_nothing(router: RouterUnderTest) -> None:
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {router.token()}\r\nContent-Length: 100\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(head.encode() + b"x")
    async with asyncio.timeout(12):  # less than what a request may take in all
        assert await reader.read() == b""
    writer.close()
    assert router.cells["cell-1"].seen == []


async def test_an_idle_connection_is_closed_in_the_end(router: RouterUnderTest) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(request_bytes("GET", "/v1/account"))
    assert (await read_answer(reader)).status == 401
    async with asyncio.timeout(6):
        assert await reader.read() == b""
    writer.close()


async def test_continue_is_said_before_a_body_that_waits_for_it(router: RouterUnderTest) -> None:
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {router.token()}\r\nX-Idempotency-Key: k\r\n"
        "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(head.encode())
    async with asyncio.timeout(30):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await read_answer(reader)).status == 200
    writer.close()


async def test_http_1_0_and_connection_close_end_the_connection(router: RouterUnderTest) -> None:
    token = router.token()
    for raw in (
        f"GET /v1/account HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n",
        f"GET /v1/account HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(raw.encode())
        async with asyncio.timeout(30):
            got = await reader.read()
        writer.close()
        assert got.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in got


async def test_a_page_whose_client_left_is_disconnected_also_if_more_was_asked(router: RouterUnderTest) -> None:
    cell, asked, release = router.cells["cell-1"], asyncio.Event(), asyncio.Event()
    usual = cell.behave

    async def later(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await release.wait()
        await usual(request, writer)

    async def has_left() -> bool:
        return not router.clients()

    cell.behave = later
    user_id = router.user_of("cell-1")
    refresh = f'{{"grant_type":"refresh_token","refresh_token":"{user_id.hex}.{"0" * 32}.x"}}'.encode()
    _, writer = await asyncio.open_connection("127.0.0.1", router.port)
    async with asyncio.timeout(5):
        ask = request_bytes("POST", "/v1/tokens", {"Content-Type": "application/json"}, refresh)
        writer.write(ask + request_bytes("GET", "/v1/account"))
        await asked.wait()
        (client,) = router.clients()
        turn = client.active
        client.transport.abort()  # as after a reset
        await eventually(has_left)
    release.set()
    writer.close()
    assert turn is not None
    assert turn.disconnected


async def test_a_client_that_leaves_does_not_disturb_its_write(router: RouterUnderTest) -> None:
    raw = request_bytes(
        "POST", "/v1/orders", {"Authorization": f"Bearer {router.token()}", "X-Idempotency-Key": "k"}, b"{}"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(raw)
    await writer.drain()
    writer.transport.abort()
    assert (await router.ask("GET", "/v1/account", token=router.token())).status == 200

    async def is_over() -> bool:
        return router.router.fleet.cell(router.shard_map.cells[0].cell_id).bulkhead.in_flight == 0

    await eventually(is_over)
