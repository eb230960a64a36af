"""Several routers as real processes under load: drain, reload and death cost no request."""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, ROUTE_FILE, generate_key_files, load_key_ring, load_signing_ring
from infra.topology.shard_map import ShardMap
from infra.topology.snapshot import encode_map
from tests.support.eventually import eventually
from tests.support.raw_http import read_answer, request_bytes
from tests.support.router_process import RouterProcess, router_processes, start_all
from tests.support.routers import map_of
from tests.support.stub_cell import SeenRequest, StubCell, stub_cell

pytestmark = pytest.mark.anyio
PATIENCE_S = (
    60.0  # whoever connects during a reload waits for the new image, which takes long to start on a busy machine
)


@dataclass
class Fleet:
    routers: list[RouterProcess]
    cells: dict[str, StubCell]
    shard_map: ShardMap
    signer: CustomerTokenSigner

    def token(self) -> str:
        return self.signer.sign(uuid4(), int(time.time()))


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Processes take long to start: those that a test did not end serve the next one."""
    tmp_path = tmp_path_factory.mktemp("fleet")
    keys = tmp_path / "keys"
    generate_key_files(keys)
    async with AsyncExitStack() as stack:
        ring = load_key_ring(keys / ROUTE_FILE)
        cells = {name: await stack.enter_async_context(stub_cell(name, ring)) for name in ("cell-1", "cell-2")}
        shard_map = map_of({name: (cell.url,) for name, cell in cells.items()})
        (tmp_path / "first.map").write_bytes(encode_map(shard_map))
        started = router_processes(2, tmp_path, keys, tmp_path / "first.map")
        routers = await asyncio.to_thread(started.__enter__)
        stack.callback(started.__exit__, None, None, None)
        yield Fleet(routers, cells, shard_map, CustomerTokenSigner(load_signing_ring(keys / CUSTOMER_SIGNING_FILE)))


@pytest.fixture
async def fleet(shared: Fleet) -> Fleet:
    for cell in shared.cells.values():
        cell.behave = cell.succeed
    await asyncio.to_thread(start_all, shared.routers)
    return shared


@dataclass
class Load:
    """Clients that notice everything: an answer other than 200, and a request that got none."""

    fleet: Fleet
    ports: list[int]
    answered: int = 0
    refused_connects: int = 0
    failures: list[str] = field(default_factory=list)
    over: bool = False

    async def client(self, *, requests_per_connection: int, pause_s: float) -> None:
        token = self.fleet.token()
        ports = itertools.cycle(self.ports)
        while not self.over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", next(ports), limit=2**20)
            except ConnectionRefusedError:
                self.refused_connects += 1  # nothing was sent: the next router is asked, as any balancer does
                await asyncio.sleep(0.005)
                continue
            try:
                for number in range(requests_per_connection):
                    headers = {"Authorization": f"Bearer {token}", "X-Idempotency-Key": f"k{number}"}
                    writer.write(request_bytes("POST", "/v1/orders", headers, b"{}"))
                    async with asyncio.timeout(PATIENCE_S):
                        answer = await read_answer(reader)
                    if answer.status != 200:
                        self.failures.append(f"{answer.status} {answer.body!r}")
                    self.answered += 1
                    if answer.headers.get("connection") == "close" or self.over:
                        break
                    await asyncio.sleep(pause_s)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failures.append(f"a request got no answer: {error!r}")
            finally:
                writer.close()

    async def __aenter__(self) -> "Load":
        shapes = [(1, 0.0), (1, 0.0), (1_000_000, 0.0), (1_000_000, 0.01), (5, 0.05), (1_000_000, 0.2), (3, 0.0)]
        self._tasks = [
            asyncio.create_task(self.client(requests_per_connection=many, pause_s=pause_s)) for many, pause_s in shapes
        ]
        await self.more(200)
        return self

    async def more(self, count: int) -> None:
        """Until so many more requests were answered."""
        wanted = self.answered + count
        async with asyncio.timeout(PATIENCE_S):
            while self.answered < wanted:  # noqa: ASYNC110 - a count, not an event
                await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        self.over = True
        await asyncio.gather(*self._tasks)


async def test_a_reload_on_the_same_socket_refuses_nobody(fleet: Fleet) -> None:
    router = fleet.routers[0]
    async with Load(fleet, [router.port]) as load:
        for _ in range(2):
            began = router.readiness()["started_at"]
            router.signal(signal.SIGHUP)
            again = await asyncio.to_thread(router.await_ready, began)
            assert again != began
            await load.more(100)
    assert (load.failures, load.refused_connects) == ([], 0)


@pytest.mark.parametrize("when", ["draining", "between images"])
async def test_who_connects_during_a_reload_is_answered_also_if_the_router_shall_end_then(
    fleet: Fleet, when: str
) -> None:
    router, go_on = fleet.routers[0], asyncio.Event()
    for cell in fleet.cells.values():

        async def wait_then_answer(request: SeenRequest, writer: asyncio.StreamWriter, cell: StubCell = cell) -> None:
            await go_on.wait()
            await cell.succeed(request, writer)

        cell.behave = wait_then_answer

    async def is_between() -> bool:
        return await asyncio.to_thread(router.readiness) is None

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(request_bytes("GET", "/v1/account", {"Authorization": f"Bearer {fleet.token()}"}))
        return reader, writer

    async def answered(client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return (await read_answer(client[0])).status

    async def is_draining() -> bool:
        facts = await asyncio.to_thread(router.readiness)
        return facts is not None and facts["draining"]

    async def is_asked() -> bool:
        return sum(len(cell.seen) for cell in fleet.cells.values()) > asked

    asked = sum(len(cell.seen) for cell in fleet.cells.values())
    early = await connect()
    await eventually(is_asked)
    router.signal(signal.SIGHUP)
    await eventually(is_draining)
    late = await connect()
    if when == "draining":
        router.signal(signal.SIGTERM)
        await asyncio.sleep(0.2)  # nothing happens: the signal is there, and the old process goes on waiting
        go_on.set()
    else:
        go_on.set()
        await eventually(is_between, every_s=0.005)
        router.signal(signal.SIGTERM)
    assert [await answered(client) for client in (early, late)] == [200, 200]
    assert await asyncio.to_thread(router.wait) == 0
    for _, writer in (early, late):
        writer.close()


async def test_a_router_that_gets_sigterm_answers_whoever_reached_it(fleet: Fleet) -> None:
    first, second = fleet.routers
    async with Load(fleet, [first.port, second.port]) as load:
        first.signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait) == 0
        await load.more(200)
    assert load.failures == []
    assert load.refused_connects > 0


async def test_rolling_over_all_routers_costs_nothing(fleet: Fleet) -> None:
    async with Load(fleet, [router.port for router in fleet.routers]) as load:
        for router in fleet.routers:
            router.signal(signal.SIGTERM)
            await asyncio.to_thread(router.wait)
            await asyncio.to_thread(router.start)
            await load.more(50)
    assert load.failures == []


async def test_a_router_may_die_and_the_others_serve_the_same_users(fleet: Fleet) -> None:
    first, second = fleet.routers
    load = Load(fleet, [second.port])
    async with load:
        first.kill()
        await load.more(300)
    assert (load.failures, load.refused_connects) == ([], 0)


async def test_a_draining_router_says_so(fleet: Fleet) -> None:
    router = fleet.routers[0]
    hold = asyncio.Event()
    cell = fleet.cells["cell-1"]
    usual = cell.behave

    async def slowly(request: object, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        await usual(request, writer)  # type: ignore[arg-type]

    for each in fleet.cells.values():
        each.behave = slowly
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(request_bytes("GET", "/v1/account", {"Authorization": f"Bearer {fleet.token()}"}))

    async def is_asked() -> bool:
        return any(cell.seen for cell in fleet.cells.values())

    async def is_draining() -> bool:
        facts = await asyncio.to_thread(router.readiness)
        return facts is not None and facts["draining"]

    await eventually(is_asked)
    router.signal(signal.SIGTERM)
    await eventually(is_draining)
    facts = await asyncio.to_thread(router.readiness)
    assert facts is not None
    assert (facts["status"], facts["draining"], facts["map_epoch"]) == ("not ready", True, 1)
    hold.set()
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    writer.close()
    assert await asyncio.to_thread(router.wait) == 0


async def test_a_router_frozen_over_a_move_writes_to_the_owner_and_once(fleet: Fleet) -> None:
    """Its map is behind when it goes on, and the write was there before."""
    (router, _), source, target = fleet.routers, fleet.cells["cell-1"], fleet.cells["cell-2"]
    while (owner := fleet.shard_map.locate(user_id := uuid4())) is None or owner.cell_id != "cell-1":
        pass
    token = fleet.signer.sign(user_id, int(time.time()))
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    try:
        headers = {"Authorization": f"Bearer {token}", "X-Idempotency-Key": "over-a-move"}
        writer.write(request_bytes("GET", "/v1/account", headers))
        assert (await read_answer(reader)).json()["cell"] == "cell-1"
        router.signal(signal.SIGSTOP)
        try:
            writer.write(request_bytes("POST", "/v1/orders", headers, b"{}"))
            source.refuse_with_421("cell-2", 2)
            await asyncio.sleep(0.1)  # the move is long over when the router goes on
        finally:
            router.signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE_S):
            answer = await read_answer(reader)
        assert (answer.status, answer.json()["cell"]) == (200, "cell-2")
        written = [seen for seen in target.seen if seen.header("x-idempotency-key") == "over-a-move"]
        assert [seen.method for seen in written] == ["POST"]
    finally:
        writer.close()
