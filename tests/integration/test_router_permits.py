"""Whatever goes wrong between a client and a cell: permits, connections and breakers come back; nobody else pays."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.fleet import Upstream
from router.settings import HoldSettings, UpstreamSettings
from tests.support.eventually import eventually
from tests.support.raw_http import request_bytes
from tests.support.routers import RouterUnderTest, map_of, running_router
from tests.support.stub_cell import SeenRequest, answer, chunked

pytestmark = pytest.mark.anyio
CHUNK = b"x" * 4_096


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    async with running_router(
        tmp_path, upstream=UpstreamSettings(deadline_s=2.0, breaker_open_s=30.0), hold=HoldSettings(wait_s=0.3)
    ) as running:
        yield running


def cell_1(router: RouterUnderTest) -> Upstream:
    return router.router.fleet.cell(router.shard_map.cells[0].cell_id)


async def test_who_was_sent_to_an_address_that_is_gone_has_a_deadline_like_anybody(router: RouterUnderTest) -> None:
    async def hang_or_answer_late(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/v1/hung":
            await asyncio.sleep(60)
        await moved.wait()
        await cell.succeed(request, writer)

    moved = asyncio.Event()
    cell, user_id = router.cells["cell-1"], router.user_of("cell-1")
    cell.behave = hang_or_answer_late
    (left,) = cell_1(router).servers
    token = router.token_of(user_id)
    hung, late = (asyncio.create_task(router.ask("GET", target, token=token)) for target in ("/v1/hung", "/v1/late"))

    async def both_are_there() -> bool:
        return len(cell.seen) == 2

    await eventually(both_are_there)
    elsewhere = router.cells["cell-2"].url
    router.router.watcher._offer(map_of({"cell-1": (elsewhere,), "cell-2": (elsewhere,)}, epoch=2), "control")
    moved.set()
    assert (await late).status == 200
    assert (await router.ask("GET", "/v1/account", token=router.token_of(user_id))).json()["cell"] == "cell-2"
    async with asyncio.timeout(15):
        got = await hung
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")
    assert cell_1(router).bulkhead.in_flight == 0
    assert (len(left.busy), left.idle_count) == (0, 0)


def refused(status: int, code: str, **figures: object) -> bytes:
    return answer(status, {"code": code, "status": status, "detail": "nothing was done", **figures})


@pytest.mark.parametrize(
    "then",
    [
        refused(503, "USER_HALTED"),
        refused(503, "OVERLOADED"),
        refused(429, "RATE_LIMITED"),
        refused(421, "MISDIRECTED", owner="cell-1", epoch=9),
    ],
    ids=["halted", "overloaded", "limited", "departed"],
)
async def test_a_write_whose_answer_was_lost_is_unknown_whatever_is_said_of_its_second_try(
    router: RouterUnderTest, then: bytes
) -> None:
    cell = router.cells["cell-1"]

    async def commit_and_lose_the_answer(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.close()
        cell.behave = refuse

    async def refuse(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(then)

    cell.behave = commit_and_lose_the_answer
    got = await router.ask("POST", "/v1/orders", token=router.token(), key="k", body=b"{}")
    assert (got.status, got.code) == (503, "OUTCOME_UNKNOWN")
    assert (router.router.holding.waiting, cell_1(router).bulkhead.in_flight) == (0, 0)
    cell.behave = refuse
    got = await router.ask("POST", "/v1/orders", token=router.token(), key="other", body=b"{}")
    assert got.code != "OUTCOME_UNKNOWN"  # this one was never lost


FAULTS: dict[str, bytes] = {
    "ok": answer(200, {}),
    "nothing": b"",
    "half": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
    "garbage": b"\x00\x01 nonsense\r\n\r\n",
    "more than one": answer(200, {}) * 2,
    "until the end": b"HTTP/1.1 200 OK\r\n\r\nabc",
    "cut stream": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(CHUNK),
    "stream": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(CHUNK) * 40 + b"0\r\n\r\n",
    "gone": refused(421, "MISDIRECTED", owner="cell-2", epoch=9),
    "halted": refused(503, "USER_HALTED"),
    "overloaded": refused(503, "OVERLOADED"),
}


async def test_after_every_kind_of_failure_nothing_is_held(tmp_path: Path) -> None:
    """Cells that do anything, clients that leave at any moment, a map that changes: in the end every figure is zero."""
    chance = random.Random(7)
    tight = UpstreamSettings(deadline_s=0.6, in_flight_max=4, queue_max=4, queue_wait_s=0.1, breaker_open_s=0.05)
    holds = HoldSettings(wait_s=0.2, waiting_per_user_max=2, waiting_max=4)

    async def anything(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        fault = chance.choice(list(FAULTS))
        await asyncio.sleep(chance.choice([0, 0, 0, 0.05, 1.0]))
        writer.write(FAULTS[fault])
        if fault in ("nothing", "half", "until the end", "cut stream"):
            await writer.drain()
            writer.close()

    async def client(router: RouterUnderTest, tokens: list[str]) -> None:
        for _ in range(12):
            _, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**12)
            for _ in range(chance.randrange(1, 4)):
                method = chance.choice(["GET", "POST", "HEAD"])
                headers = {"Authorization": f"Bearer {chance.choice(tokens)}"}
                if chance.random() < 0.8:
                    headers["X-Idempotency-Key"] = f"k{chance.random()}"
                writer.write(request_bytes(method, "/v1/x", headers, b"{}" if method == "POST" else None))
            await asyncio.sleep(chance.random() * 0.2)
            if chance.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()

    async with running_router(tmp_path, upstream=tight, hold=holds) as router:
        parts, holding, cells = router.router, router.router.holding, [*router.router.fleet.cells()]
        for cell in router.cells.values():
            cell.behave = anything
        tokens = [router.token(name) for name in router.cells for _ in range(2)]
        clients = asyncio.gather(*(client(router, tokens) for _ in range(12)))
        for epoch in range(2, 6):
            await asyncio.sleep(0.2)
            urls = {"cell-1": (router.cells[f"cell-{epoch % 2 + 1}"].url,), "cell-2": (router.cells["cell-2"].url,)}
            router.router.watcher._offer(map_of(urls, epoch=epoch), "control")
        await clients

        async def nothing_is_held() -> bool:
            counts = [len(parts.tasks), len(parts.clients), parts.clients.addresses, holding.waiting]
            counts += [len(holding.queues), len(parts.tunnels)]
            for cell in cells:
                counts += [cell.bulkhead.in_flight, cell.bulkhead.queued, cell.tunnels]
                counts += [len(server.busy) for server in cell._every_server]
            return not any(counts)

        await eventually(nothing_is_held)
        assert sum(cell.figures.broken for cell in cells) > 0
        assert sum(sum(cell.bulkhead.shed) for cell in cells) > 0
        assert min(holding.held, sum(cell.figures.misdirected for cell in cells)) > 0
