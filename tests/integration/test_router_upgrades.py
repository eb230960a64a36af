"""An upgrade that is not taken is ignored (RFC 9110 7.8): the request is served in HTTP/1.1, and the connection stays
in step, wherever the bytes are cut."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.raw_http import read_answer, request_bytes
from tests.support.routers import RouterUnderTest, running_router

pytestmark = pytest.mark.anyio
H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAA"}
BODY = b'{"a": "GET /v1/smuggled HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"}'


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RouterUnderTest]:
    async with running_router(tmp_path_factory.mktemp("router")) as running:
        yield running


@pytest.fixture
async def router(shared: RouterUnderTest) -> RouterUnderTest:
    for cell in shared.cells.values():
        cell.seen.clear()
    return shared


async def statuses(router: RouterUnderTest, pieces: list[bytes], count: int) -> list[int]:
    """Of so many answers on one connection, which is open afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    async with asyncio.timeout(10):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.002)
        answers = [await read_answer(reader) for _ in range(count)]
        writer.write(request_bytes("GET", "/v1/account"))
        assert (await read_answer(reader)).status == 401
    writer.close()
    return [answer.status for answer in answers]


def order(router: RouterUnderTest, headers: dict[str, str], body: bytes | None = BODY) -> bytes:
    named = {"Authorization": f"Bearer {router.token('cell-1')}", "X-Idempotency-Key": "k", **headers}
    return request_bytes("POST", "/v1/orders", named, body)


@pytest.mark.parametrize(
    "headers",
    [
        H2C,
        {"Connection": "upgrade", "Upgrade": "websocket"},  # a POST cannot become one
        {"Connection": "keep-alive, Upgrade", "Upgrade": "h2c, TLS/1.0, websocket"},
        {"Connection": "Upgrade", "Upgrade": "foo/2, bar"},
        {"Connection": "close-not, upgrade", "Upgrade": ""},
        {"Upgrade": "h2c"},  # without Connection it says nothing
        {"Connection": "Upgrade"},
    ],
)
async def test_a_write_that_asks_for_an_upgrade_is_forwarded_whole(
    router: RouterUnderTest, headers: dict[str, str]
) -> None:
    one = order(router, headers)
    for pieces in (
        [one * 3],
        [one[n : n + 7] for n in range(0, len(one), 7)] + [one * 2],
        [one[:-3], one[-3:] + one, one],
    ):
        router.cells["cell-1"].seen.clear()
        assert await statuses(router, pieces, 3) == [200] * 3
        seen = router.cells["cell-1"].seen
        assert [(request.target, request.body) for request in seen] == [("/v1/orders", BODY)] * 3
        for name in ("upgrade", "connection", "http2-settings"):
            assert seen[0].header(name) is None


async def test_a_chunked_write_that_asks_for_an_upgrade_is_forwarded_whole(router: RouterUnderTest) -> None:
    chunks = b"%x\r\n%b\r\n1\r\n \r\n0\r\nX-Route-Token: forged\r\n\r\n" % (len(BODY), BODY)
    one = order(router, {**H2C, "Transfer-Encoding": "chunked"}, None) + chunks
    assert await statuses(router, [one + one[:100], one[100:]], 2) == [200] * 2
    seen = router.cells["cell-1"].seen
    assert [(request.body, request.header("content-length")) for request in seen] == [
        (BODY + b" ", str(len(BODY) + 1))
    ] * 2


@pytest.mark.parametrize("length", ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: 99999999"])
async def test_an_upgrade_hides_no_framing(router: RouterUnderTest, length: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    raw = order(router, H2C, None).replace(b"\r\n\r\n", f"\r\n{length}\r\n\r\n".encode())
    writer.write(raw + b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await read_answer(reader)).status in (400, 413)
        assert await reader.read() == b""
    writer.close()
    assert router.cells["cell-1"].seen == []


async def test_the_limit_of_a_body_holds_behind_an_upgrade(router: RouterUnderTest) -> None:
    chunked = order(router, {**H2C, "Transfer-Encoding": "chunked"}, None) + b"10001\r\n" + b"x" * 65_537
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(chunked)
    async with asyncio.timeout(5):
        assert (await read_answer(reader)).status == 413
    writer.close()


async def test_a_client_that_waits_for_100_behind_an_upgrade_gets_it(router: RouterUnderTest) -> None:
    head, _, body = order(router, {**H2C, "Expect": "100-continue"}).partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    async with asyncio.timeout(5):
        for _ in range(2):
            writer.write(head + b"\r\n\r\n")
            assert (await read_answer(reader)).status == 100
            writer.write(body)
            assert (await read_answer(reader)).status == 200
    writer.close()


async def test_close_is_obeyed_behind_an_upgrade_and_nothing_after_it_is_done(router: RouterUnderTest) -> None:
    one = order(router, {**H2C, "Connection": "close, Upgrade, HTTP2-Settings"})
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(one + order(router, {}))
    async with asyncio.timeout(5):
        assert (await read_answer(reader)).headers["connection"] == "close"
        assert await reader.read() == b""
    writer.close()
    assert len(router.cells["cell-1"].seen) == 1


@pytest.mark.parametrize("target", ["/v1/tokens", "/v1/users", "/nothing"])
async def test_what_the_router_answers_itself_gets_its_body_behind_an_upgrade(
    router: RouterUnderTest, target: str
) -> None:
    plain = await router.ask("POST", target, body=b'{"grant_type": "refresh_token", "refresh_token": "x"}')
    one = request_bytes(
        "POST",
        target,
        {**H2C, "Content-Type": "application/json"},
        b'{"grant_type": "refresh_token", "refresh_token": "x"}',
    )
    assert await statuses(router, [one[:-5], one[-5:] + one], 2) == [plain.status] * 2


async def test_hundreds_of_ignored_upgrades_in_one_packet_are_all_answered(router: RouterUnderTest) -> None:
    one = request_bytes("GET", "/v1/account", {**H2C, "Authorization": f"Bearer {router.token('cell-1')}"})
    assert await statuses(router, [one * 300], 300) == [200] * 300


async def test_a_refused_websocket_is_not_the_end_of_its_connection(router: RouterUnderTest) -> None:
    """Nobody without a token gets as far as a cell."""
    one = request_bytes("GET", "/v1/stream", {"Connection": "Upgrade", "Upgrade": "websocket"})
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    async with asyncio.timeout(5):
        writer.write(one.replace(b"/v1/stream", b"/v1/../stream"))
        assert (await read_answer(reader)).status == 400
        writer.write(request_bytes("GET", "/v1/account"))
        assert (await read_answer(reader)).status == 401
    writer.close()


async def test_http_2_without_asking_is_refused(router: RouterUnderTest) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await read_answer(reader)).status in (400, 505)
        assert await reader.read() == b""
    writer.close()
