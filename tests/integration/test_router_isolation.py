"""A frozen cell, a bad network, a bad Redis, a day without anybody: who is not concerned notices nothing."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from infra.runtime.clock import SystemClock
from infra.runtime.map_source import ControlMapSource, FileMapSource
from infra.runtime.map_watcher import MapWatcher
from infra.runtime.redis_client import make_redis
from infra.runtime.redis_map_source import RedisMapSource
from infra.runtime.settings import RedisSettings
from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, generate_key_files, load_signing_ring
from infra.topology.snapshot import encode_map
from router.settings import UpstreamSettings
from shardctl.shardmap.publish import publish_map
from tests.support.eventually import eventually
from tests.support.mangling_proxy import Mode, mangling_proxy
from tests.support.plain_cell import PlainCell, plain_cell
from tests.support.raw_http import ask, read_answer, request_bytes
from tests.support.redis_server import redis_server
from tests.support.router_process import RouterProcess, router_processes
from tests.support.routers import DEAD_REDIS, map_of, running_router

pytestmark = pytest.mark.anyio


@dataclass
class Place:
    router: RouterProcess
    cells: dict[str, PlainCell]
    tokens: dict[str, str]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    keys = tmp_path / "keys"
    generate_key_files(keys)
    signer = CustomerTokenSigner(load_signing_ring(keys / CUSTOMER_SIGNING_FILE))
    async with AsyncExitStack() as stack:
        cells = {name: stack.enter_context(plain_cell()) for name in ("cell-1", "cell-2")}
        shard_map = map_of({name: (cell.url,) for name, cell in cells.items()})
        (tmp_path / "first.map").write_bytes(encode_map(shard_map))
        started = router_processes(
            1,
            tmp_path,
            keys,
            tmp_path / "first.map",
            ROUTER_UPSTREAM__DEADLINE_S="1",
            ROUTER_UPSTREAM__IN_FLIGHT_MAX="32",
        )
        (router,) = await asyncio.to_thread(started.__enter__)
        stack.callback(started.__exit__, None, None, None)
        tokens: dict[str, str] = {}
        while len(tokens) < 2:
            user_id: UUID = uuid4()
            owner = shard_map.locate(user_id)
            assert owner is not None
            tokens[owner.cell_id] = signer.sign(user_id, int(time.time()))
        yield Place(router, cells, tokens)


async def drive(place: Place, cell: str, seconds: float, clients: int) -> tuple[list[int], list[float]]:
    """Statuses and latencies of clients that ask one after the other."""
    statuses: list[int] = []
    latencies: list[float] = []
    raw = request_bytes("GET", "/v1/account", {"Authorization": f"Bearer {place.tokens[cell]}"})

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.router.port)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            began = time.monotonic()
            writer.write(raw)
            statuses.append((await read_answer(reader)).status)
            latencies.append(time.monotonic() - began)
            await asyncio.sleep(0.005)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses, sorted(latencies)


async def test_a_frozen_cell_costs_the_others_nothing_and_its_own_users_little(place: Place) -> None:
    before, alone = await drive(place, "cell-2", 2.0, 4)
    os.kill(place.cells["cell-1"].pid, signal.SIGSTOP)
    (sick, sick_s), (well, beside) = await asyncio.gather(
        drive(place, "cell-1", 4.0, 64), drive(place, "cell-2", 4.0, 4)
    )
    assert set(before) == set(well) == {200}
    assert set(sick) == {503}
    assert sick_s[-1] < 3.0  # a deadline, or a queue's wait; never more
    assert sick_s[len(sick_s) // 2] < 0.5  # mostly the breaker's quick no
    p99_alone, p99_beside = (found[int(len(found) * 0.99)] for found in (alone, beside))
    print(f"p99 of the healthy cell: {p99_alone * 1000:.1f} ms alone, {p99_beside * 1000:.1f} ms beside a frozen one")
    assert p99_beside < max(10 * p99_alone, 0.25)  # a gross bound; figures are for the benchmark
    metrics = await asyncio.to_thread(place.router.metrics)
    assert 'router_breaker_trips_total{cell="cell-1"}' in metrics
    os.kill(place.cells["cell-1"].pid, signal.SIGCONT)

    async def is_back() -> bool:
        return (await ask(place.router.port, "GET", "/v1/account", token=place.tokens["cell-1"])).status == 200

    await eventually(is_back, within_s=10)


@pytest.mark.parametrize("mode", ["cut", "delay", "corrupt", "swallow"])
async def test_a_bad_network_to_one_cell_never_gives_a_wrong_answer(tmp_path: Path, mode: Mode) -> None:
    async with AsyncExitStack() as stack:
        upstream = UpstreamSettings(deadline_s=0.8, breaker_open_s=0.2)
        router = await stack.enter_async_context(running_router(tmp_path, upstream=upstream))
        proxy = await stack.enter_async_context(mangling_proxy(router.cells["cell-1"].port))
        urls = {"cell-1": (f"http://127.0.0.1:{proxy.port}",), "cell-2": (router.cells["cell-2"].url,)}
        router.router.watcher._offer(map_of(urls, epoch=2), "control")
        token, other = router.token("cell-1"), router.token("cell-2")
        assert (await router.ask("GET", "/v1/account", token=token)).status == 200
        proxy.mode = mode
        for number in range(6):
            got = await router.ask("POST", "/v1/orders", token=token, key=f"k{number}", body=b"{}")
            beside = await router.ask("POST", "/v1/orders", token=other, key=f"o{number}", body=b"{}")
            assert beside.status == 200
            assert got.status in (200, 503), got
            if mode == "delay":
                assert got.status == 200
            if mode in ("cut", "swallow"):
                assert got.code in ("OUTCOME_UNKNOWN", "CELL_UNAVAILABLE")
        proxy.mode = "pass"

        async def is_back() -> bool:
            return (await router.ask("GET", "/v1/account", token=token)).status == 200

        await eventually(is_back, within_s=5)


@pytest.mark.parametrize("mode", ["cut", "delay", "corrupt", "swallow"])
async def test_a_bad_network_to_redis_spoils_no_map_and_no_request(tmp_path: Path, mode: Mode) -> None:
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server())
        proxy = await stack.enter_async_context(mangling_proxy(redis.port))
        started = running_router(tmp_path, redis_url=f"redis://127.0.0.1:{proxy.port}")
        router = await stack.enter_async_context(started)
        urls = {name: (cell.url,) for name, cell in router.cells.items()}
        user_id = router.user_of("cell-1")
        token = router.token_of(user_id)
        proxy.mode = mode
        await publish_map(redis.url, map_of(urls, epoch=2, pins=[(user_id, "cell-2")]))
        for _ in range(15):
            got = await router.ask("GET", "/v1/account", token=token)
            current = router.router.watcher.current
            assert current is not None
            assert got.status == 200
            assert current.epoch in (1, 2)
            assert encode_map(current) in (
                encode_map(router.shard_map),
                encode_map(map_of(urls, epoch=2, pins=[(user_id, "cell-2")])),
            )
            await asyncio.sleep(0.05)
        proxy.mode = "pass"

        async def has_healed() -> bool:
            got = await router.ask("GET", "/v1/account", token=token)
            return bool(got.json()["cell"] == "cell-2")

        await eventually(has_healed, within_s=10)


async def test_an_address_that_cannot_be_used_costs_only_its_own_cell(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:
        good = router.cells["cell-2"].url
        for epoch, bad in enumerate(["https://127.0.0.1:1", "http://127.0.0.1:99999", "http://[::1", "http://"], 2):
            odd = map_of({"cell-1": (bad,), "cell-2": (bad, good)}, epoch=epoch)
            router.router.watcher._offer(odd, "redis")
            got = await router.ask("GET", "/v1/account", token=router.token("cell-1"))
            assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")
            assert (await router.ask("GET", "/v1/account", token=router.token("cell-2"))).status == 200


@pytest.mark.parametrize("says", [b":5\r\n", b"*1\r\n$1\r\na\r\n", b"+OK\r\n", b"-ERR no\r\n"])
async def test_a_redis_that_answers_something_else_stops_no_start_and_no_request(tmp_path: Path, says: bytes) -> None:
    async def answer_wrongly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                writer.write(says)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer_wrongly, "127.0.0.1", 0) as redis:
        url = f"redis://127.0.0.1:{redis.sockets[0].getsockname()[1]}"
        async with running_router(tmp_path, redis_url=url) as router:
            assert (await router.ask("GET", "/v1/account", token=router.token("cell-1"))).status == 200
            router.cells["cell-1"].refuse_with_421("cell-2", 9)
            assert (await router.ask("GET", "/v1/account", token=router.token("cell-1"))).json()["cell"] == "cell-2"


async def test_a_watcher_that_ends_leaves_no_connection_half_made(tmp_path: Path) -> None:
    """To a control database that accepts and says nothing. A half-made connection costs a server more than an idle one:
    PostgreSQL lets creating and dropping databases wait for it, a minute long."""
    open_now: set[asyncio.StreamWriter] = set()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        await reader.read()
        open_now.discard(writer)
        writer.close()

    async def is_asked() -> bool:
        return bool(open_now)

    async def is_left() -> bool:
        return not open_now

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        control = ControlMapSource(f"postgresql://nobody@127.0.0.1:{silent.sockets[0].getsockname()[1]}/none")
        watcher = MapWatcher(
            redis_source=RedisMapSource(make_redis(RedisSettings(url=DEAD_REDIS))),
            control_source=control,
            file_source=FileMapSource(tmp_path / "no.map"),
            clock=SystemClock(),
            start_wait_s=0.0,
        )
        await watcher.start()
        await eventually(is_asked)
        gc.disable()  # what only the collector would close stays open as long as nobody collects
        try:
            await watcher.stop()
            await eventually(is_left)
        finally:
            gc.enable()
        assert watcher.current is None
