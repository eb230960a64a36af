"""One customer asks for all they can get, of a router process: they get their share, and others notice nothing.

Nothing here is timed. What is counted: who was refused, with which status and code, and that nobody else was."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, ROUTE_FILE, generate_key_files, load_key_ring, load_signing_ring
from infra.topology.snapshot import encode_map
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import Answer, ask, read_answer, request_bytes
from tests.support.router_process import RouterProcess, router_processes
from tests.support.routers import map_of
from tests.support.stub_cell import SeenRequest, StubCell, answer, chunked, stub_cell

pytestmark = pytest.mark.anyio

PERMITS = 8
SHARE = 3
LARGE = b"x" * 24_000_000  # more than the sockets between cell and client hold
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "x" * 24,
    "Sec-WebSocket-Version": "13",
}
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


@dataclass
class Scene:
    router: RouterProcess
    cell: StubCell
    signer: CustomerTokenSigner
    asked: list[asyncio.Task[Answer]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def new_token(self) -> str:
        return self.signer.sign(uuid4(), int(time.time()))

    def begin(self, method: str, target: str, token: str, count: int) -> list[asyncio.Task[Answer]]:
        """Requests of one customer, all at once, each on a connection of its own."""
        body = b"{}" if method == "POST" else None
        begun = [
            asyncio.create_task(
                ask(self.router.port, method, target, token=token, body=body, key=uuid4().hex if body else None)
            )
            for _ in range(count)
        ]
        self.asked += begun
        return begun

    async def neighbours_are_served(self) -> None:
        """Reads and writes of customers who have not asked for anything yet."""
        for _ in range(3):
            token = self.new_token()
            for method, target in (("GET", "/v1/account"), ("POST", "/v1/orders"), ("POST", "/v1/orders/preview")):
                (got,) = await asyncio.gather(*self.begin(method, target, token, 1))
                assert got.status == 200, (method, target, got.body)

    async def figure(self, name: str) -> float:
        metrics = await asyncio.to_thread(self.router.metrics)
        return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(name + "{"))

    async def await_figure(self, name: str, value: float) -> None:
        async def is_reached() -> bool:
            return await self.figure(name) == value

        await eventually(is_reached, within_s=20)

    async def behave(self, request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        """What the target asks for; everything else at once."""
        if request.target == "/v1/endless":
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(chunked(b"x" * 65_536))
                await writer.drain()
        elif request.target == "/v1/large":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LARGE) + LARGE)
        elif request.target in ("/v1/hang", "/internal/v1/sessions/refresh"):
            await self.go_on.wait()
            writer.write(answer(200, {}))
        elif request.header("upgrade") is not None:
            writer.write(ACCEPTED)
        else:
            writer.write(answer(200, {}))

    async def read_slowly(self, token: str, count: int, target: str = "/v1/endless") -> list[asyncio.StreamReader]:
        """Ask for a large answer and take no more of it than one's own socket does."""
        readers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.router.port, limit=1_024)
            writer.write(request_bytes("GET", target, {"Authorization": f"Bearer {token}"}))
            self.writers.append(writer)
            readers.append(reader)
        return readers


@asynccontextmanager
async def scene_of(tmp_path: Path, **settings: str) -> AsyncIterator[Scene]:
    keys = tmp_path / "keys"
    generate_key_files(keys)
    signer = CustomerTokenSigner(load_signing_ring(keys / CUSTOMER_SIGNING_FILE))
    async with AsyncExitStack() as stack:
        cell = await stack.enter_async_context(stub_cell("cell-1", load_key_ring(keys / ROUTE_FILE)))
        (tmp_path / "first.map").write_bytes(encode_map(map_of({"cell-1": (cell.url,)})))
        started = router_processes(
            1,
            tmp_path,
            keys,
            tmp_path / "first.map",
            ROUTER_UPSTREAM__IN_FLIGHT_MAX=str(PERMITS),
            ROUTER_UPSTREAM__USER_IN_FLIGHT_MAX=str(SHARE),
            ROUTER_UPSTREAM__IDENTITY_IN_FLIGHT_MAX=str(PERMITS),
            ROUTER_UPSTREAM__USER_TUNNELS_MAX=str(SHARE),
            **settings,
        )
        (router,) = await asyncio.to_thread(started.__enter__)
        stack.callback(started.__exit__, None, None, None)
        scene = Scene(router, cell, signer)
        cell.behave = scene.behave
        try:
            yield scene
        finally:
            scene.go_on.set()
            for task in scene.asked:
                task.cancel()
            await asyncio.gather(*scene.asked, return_exceptions=True)
            for writer in scene.writers:
                writer.transport.abort()


PATIENT = {"ROUTER_UPSTREAM__QUEUE_WAIT_S": "8", "ROUTER_UPSTREAM__SHARE_WAIT_S": "8"}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_of(tmp_path, ROUTER_UPSTREAM__USER_QUEUE_MAX="2", ROUTER_UPSTREAM__SHARE_WAIT_S="5") as scene:
        yield scene


def outcomes(answers: list[Answer]) -> Counter[tuple[int, str]]:
    return Counter((got.status, got.code if got.status >= 400 else "") for got in answers)


async def test_slow_readers_of_large_answers_hold_no_place_and_at_most_a_share(scene: Scene) -> None:
    """More than there are permits, of one customer; then of several."""
    readers = await scene.read_slowly(scene.new_token(), PERMITS + SHARE)
    await scene.await_figure("router_slow_answers", SHARE)
    await scene.await_figure("router_requests_in_flight", 0)
    await scene.neighbours_are_served()
    for _ in range(3):
        readers += await scene.read_slowly(scene.new_token(), SHARE)
    await scene.await_figure("router_slow_answers", 4 * SHARE)
    await scene.await_figure("router_requests_in_flight", 0)
    await scene.neighbours_are_served()
    refused = []
    async with asyncio.timeout(20):
        for reader in readers[: PERMITS + SHARE]:
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 429 " in head:
                assert b"retry-after: " in head
                assert b"ratelimit-limit: " in head
                refused.append(head)
                if len(refused) == PERMITS - 2:
                    break
    assert await scene.figure("router_requests_over_share_total") >= PERMITS - 2  # two may wait in line


async def test_a_slow_reader_gets_its_answer_whole_in_the_end(scene: Scene) -> None:
    (reader,) = await scene.read_slowly(scene.new_token(), 1, "/v1/large")
    await scene.await_figure("router_slow_answers", 1)
    async with asyncio.timeout(20):
        assert (await read_answer(reader)).body == LARGE
    await scene.await_figure("router_slow_answers", 0)
    await scene.neighbours_are_served()


@pytest.mark.parametrize(("method", "other"), [("POST", "GET"), ("GET", "POST")])
async def test_a_flood_of_one_customer_is_bounded_and_their_reads_and_writes_do_not_wait_for_each_other(
    scene: Scene, method: str, other: str
) -> None:
    token = scene.new_token()
    flood = scene.begin(method, "/v1/hang", token, PERMITS * 4)
    await scene.await_figure("router_requests_queued", 2)
    assert await scene.figure("router_requests_in_flight") == SHARE
    assert_moved(await asyncio.to_thread(scene.router.metrics), "router_requests_in_flight", "router_requests_queued")
    await scene.neighbours_are_served()
    (got,) = await asyncio.gather(*scene.begin(other, "/v1/account", token, 1))
    assert got.status == 200
    scene.go_on.set()
    answers = await asyncio.gather(*flood)
    assert outcomes(answers) == {(200, ""): SHARE + 2, (429, "RATE_LIMITED"): PERMITS * 4 - SHARE - 2}
    assert {got.headers["retry-after"] for got in answers if got.status == 429} == {"1"}
    assert_moved(await asyncio.to_thread(scene.router.metrics), "router_requests_over_share_total")


async def test_waiters_of_a_full_cell_are_served_round_robin(tmp_path: Path) -> None:
    """Three who do their utmost fill the cell, two more come last with one request each: they are not last."""
    async with scene_of(tmp_path, ROUTER_UPSTREAM__USER_QUEUE_MAX="50", **PATIENT) as scene:
        greedy, modest = [scene.new_token() for _ in range(3)], [scene.new_token() for _ in range(2)]
        flood = [task for token in greedy for task in scene.begin("POST", "/v1/hang", token, 10)]
        await scene.await_figure("router_requests_queued", 30 - PERMITS)
        late = [task for token in modest for task in scene.begin("POST", "/v1/hang", token, 1)]
        await scene.await_figure("router_requests_queued", 30 - PERMITS + 2)
        seen_before = len(scene.cell.seen)
        scene.go_on.set()
        assert outcomes(await asyncio.gather(*flood, *late)) == {(200, ""): 32}
        order = [scene.cell.claims(request, int(time.time())).user_id for request in scene.cell.seen[seen_before:]]
        last_ones = [user_id for user_id, count in Counter(order).items() if count == 1]
        assert len(last_ones) == 2
        assert max(order.index(user_id) for user_id in last_ones) < 8  # at most two turns of the three before them


async def test_sign_ups_and_logins_have_permits_of_their_own(scene: Scene) -> None:
    flood = []
    for _ in range(PERMITS * 2):
        body = b'{"grant_type": "refresh_token", "refresh_token": "%s.x.y"}' % uuid4().hex.encode()
        headers = {"Content-Type": "application/json"}
        flood.append(asyncio.create_task(ask(scene.router.port, "POST", "/v1/tokens", headers=headers, body=body)))
    scene.asked += flood
    await scene.await_figure("router_requests_queued", PERMITS)
    assert await scene.figure("router_requests_in_flight") == PERMITS
    await scene.neighbours_are_served()


async def test_one_customer_has_a_share_of_the_open_streams(scene: Scene) -> None:
    async def open_stream(token: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.router.port)
        scene.writers.append(writer)
        writer.write(request_bytes("GET", "/v1/stream", {"Authorization": f"Bearer {token}", **UPGRADE}))
        async with asyncio.timeout(20):
            return await reader.readuntil(b"\r\n\r\n")

    token, other = scene.new_token(), scene.new_token()
    opened = [await open_stream(token) for _ in range(SHARE + 1)]
    assert [head.split(b" ")[1] for head in opened] == [b"101"] * SHARE + [b"429"]
    assert (await open_stream(other)).split(b" ")[1] == b"101"
    scene.writers[0].close()
    await scene.await_figure("router_tunnels", SHARE)
    assert (await open_stream(token)).split(b" ")[1] == b"101"
