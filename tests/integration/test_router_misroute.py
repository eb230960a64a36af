"""Stale maps are harmless: 421, refresh, once more; and no hint can start a loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.errors import CellUnavailable
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import Answer, read_answer
from tests.support.routers import RouterUnderTest, map_of, running_router
from tests.support.stub_cell import SeenRequest, answer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    async with running_router(tmp_path, epoch=5) as running:
        yield running


async def test_a_newer_map_is_believed_and_the_write_sent_once_more(router: RouterUnderTest) -> None:
    user_id = router.user_of("cell-1")
    urls = {name: (cell.url,) for name, cell in router.cells.items()}
    moved = map_of(urls, epoch=6, pins=[(user_id, "cell-2")])
    watcher = router.router.watcher

    async def refresh(_: float) -> None:
        watcher._offer(moved, "redis")

    router.router.misroutes._refresh = refresh  # the sources are dead here; what they would bring is said by hand
    router.cells["cell-1"].refuse_with_421("cell-2", 6)
    got = await router.ask("POST", "/v1/orders", token=router.token_of(user_id), key="k-1", body=b'{"a":1}')
    assert got.json()["cell"] == "cell-2"
    seen = router.cells["cell-2"].seen[-1]
    assert (seen.header("x-idempotency-key"), seen.body) == ("k-1", b'{"a":1}')
    assert router.cells["cell-2"].claims(seen, int(time.time())).epoch == 6
    assert len(router.cells["cell-1"].seen) == 1
    assert (await router.ask("GET", "/v1/account", token=router.token_of(user_id))).json()["cell"] == "cell-2"
    assert len(router.cells["cell-1"].seen) == 1  # healed at the first refusal
    assert_moved(
        router.router.metrics.render(),
        "router_misroutes_total",
        "router_requests_total",
        "router_request_seconds",
        "router_tokens_verified_total",
        "router_map_epoch",
        "router_map_source_failures_total",
        "router_map_age_seconds",
    )


async def test_a_newer_hint_is_followed_when_no_source_answers(router: RouterUnderTest) -> None:
    router.cells["cell-1"].refuse_with_421("cell-2", 6)
    got = await router.ask("GET", "/v1/account", token=router.token("cell-1"))
    assert got.json()["cell"] == "cell-2"


@pytest.mark.parametrize(
    ("owner", "epoch"), [("cell-2", 5), ("cell-2", 0), ("cell-2", 2**63), ("cell-9", 9), (None, 9), ("cell-1", 9)]
)
async def test_an_old_or_senseless_hint_is_not_followed(router: RouterUnderTest, owner: str | None, epoch: int) -> None:
    router.cells["cell-1"].refuse_with_421(owner, epoch)
    got = await router.ask("POST", "/v1/orders", token=router.token("cell-1"), key="k", body=b"{}")
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")
    assert router.cells["cell-2"].seen == []


async def test_two_cells_that_point_at_each_other_end_the_request(router: RouterUnderTest) -> None:
    router.cells["cell-1"].refuse_with_421("cell-2", 6)
    router.cells["cell-2"].refuse_with_421("cell-1", 7)
    got = await router.ask("POST", "/v1/orders", token=router.token("cell-1"), key="k", body=b"{}")
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")
    # the second hint is later, so it may be true; to follow the first one again would be a circle
    assert [len(cell.seen) for cell in router.cells.values()] == [2, 1]
    assert router.router.misroutes.loops == 1
    assert_moved(router.router.metrics.render(), "router_misroute_loops_total", "router_refusals_total")


async def test_a_hint_that_lies_does_not_make_the_user_unknown(router: RouterUnderTest) -> None:
    router.cells["cell-1"].refuse_with_421("cell-2", 6)

    async def unknown(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(404, {"code": "USER_NOT_FOUND", "status": 404, "detail": "no such user in this cell"}))

    router.cells["cell-2"].behave = unknown
    got = await router.ask("GET", "/v1/account", token=router.token("cell-1"))
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")
    with pytest.raises(CellUnavailable):  # nor does it log anybody out
        await router.router.calls.post(router.user_of("cell-1"), "/internal/v1/sessions/refresh", {}, request_id="r")
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    upgrade = f"Authorization: Bearer {router.token('cell-1')}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    writer.write(f"GET /v1/stream HTTP/1.1\r\nHost: x\r\n{upgrade}".encode())
    async with asyncio.timeout(5):
        assert (await read_answer(reader)).code == "CELL_UNAVAILABLE"
    writer.close()


async def test_a_421_that_comes_in_pieces_of_unknown_length_is_followed_and_never_shown(
    router: RouterUnderTest,
) -> None:
    async def piecemeal(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 421 Misdirected\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b'{"code":"MISDIRECTED",', b'"owner":"cell-2","epoch":9}'):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")

    router.cells["cell-1"].behave = piecemeal
    got = await router.ask("POST", "/v1/orders", token=router.token("cell-1"), key="k", body=b"{}")
    assert (got.status, got.json().get("cell")) == (200, "cell-2")


async def test_a_421_that_does_not_end_is_never_shown(router: RouterUnderTest) -> None:
    async def endless(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 421 Misdirected\r\ncontent-length: 900000\r\n\r\n" + b" " * 900_000)

    router.cells["cell-1"].behave = endless
    got = await router.ask("GET", "/v1/account", token=router.token("cell-1"))
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")


CHAIN = tuple(f"cell-{number}" for number in range(1, 7))


class Chain:
    """A user who moved from cell to cell while no map was published: each cell knows where they went from there."""

    def __init__(self, router: RouterUnderTest, *, map_epoch: int) -> None:
        self.router = router
        self.map_epoch = map_epoch
        self.user_id = router.user_of("cell-1")
        self.token = router.token_of(self.user_id)

    def moved(self, from_cell: str, to_cell: str, epoch: int) -> None:
        self.router.cells[from_cell].refuse_with_421(to_cell, epoch)
        self.router.cells[to_cell].behave = self.router.cells[to_cell].succeed

    async def ask(self) -> tuple[Answer, list[str]]:
        """One request, and the cells that saw it, in the order of the directory."""
        before = {name: len(cell.seen) for name, cell in self.router.cells.items()}
        got = await self.router.ask("GET", "/v1/account", token=self.token)
        return got, [name for name, cell in self.router.cells.items() for _ in range(len(cell.seen) - before[name])]

    def told_epoch(self, name: str) -> int:
        cell = self.router.cells[name]
        return cell.claims(cell.seen[-1], int(time.time())).epoch

    def publish(self, *, pin: str | None = None, since: int = 0) -> None:
        """The next map: what the user's pin says, if there is one; else it changed for other reasons."""
        self.map_epoch += 1
        urls = {name: (cell.url,) for name, cell in self.router.cells.items()}
        pins = [] if pin is None else [(self.user_id, pin)]
        shard_map = map_of(urls, epoch=self.map_epoch, since=3, pins=pins, pinned_since=since)
        self.router.router.watcher._offer(shard_map, "redis")


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """The map's own epoch is far above the ownership epochs: it counts whatever is published."""
    async with running_router(tmp_path, epoch=900, since=3, stubs=CHAIN) as running:
        yield Chain(running, map_epoch=900)


async def test_rising_hints_are_followed_from_cell_to_cell_and_the_last_is_remembered(chain: Chain) -> None:
    for from_cell, to_cell, epoch in zip(CHAIN[:4], CHAIN[1:5], (11, 12, 15, 16), strict=True):
        chain.moved(from_cell, to_cell, epoch)
    got, asked = await chain.ask()
    assert (got.json()["cell"], asked) == ("cell-5", list(CHAIN[:5]))
    assert [chain.told_epoch(name) for name in CHAIN[:5]] == [3, 11, 12, 15, 16]
    assert_moved(chain.router.router.metrics.render(), "router_hints_followed_total")
    for _ in range(2):
        assert (await chain.ask())[1] == ["cell-5"]
        chain.publish()  # for other reasons
    assert ((await chain.ask())[1], chain.told_epoch("cell-5")) == (["cell-5"], 16)


async def test_the_fifth_hint_is_not_followed_by_the_same_request(chain: Chain) -> None:
    for from_cell, to_cell, epoch in zip(CHAIN[:5], CHAIN[1:], (11, 12, 13, 14, 15), strict=True):
        chain.moved(from_cell, to_cell, epoch)
    got, asked = await chain.ask()
    assert (got.status, got.code, asked) == (503, "CELL_UNAVAILABLE", list(CHAIN[:5]))
    assert chain.router.router.misroutes.loops == 1
    got, asked = await chain.ask()  # what was learned is not lost
    assert (got.json()["cell"], asked) == ("cell-6", ["cell-6"])


async def test_sources_that_hang_do_not_hold_a_customer_whose_new_owner_is_named(chain: Chain) -> None:
    asked_for: list[float] = []

    async def hang(timeout_s: float) -> None:
        asked_for.append(timeout_s)
        await asyncio.sleep(timeout_s)

    chain.router.router.misroutes._refresh = hang
    chain.moved("cell-1", "cell-2", 11)
    chain.moved("cell-2", "cell-3", 12)
    assert (await chain.ask())[1] == ["cell-1", "cell-2", "cell-3"]
    assert asked_for == [0.01], "once for a request"
    chain.router.cells["cell-3"].refuse_with_421(None, 0)
    assert (await chain.ask())[0].code == "CELL_UNAVAILABLE"
    assert asked_for == [0.01, 1.0], "who hears of no owner has nothing but the map"


async def test_a_map_that_has_the_epoch_replaces_the_hint(chain: Chain) -> None:
    chain.moved("cell-1", "cell-2", 11)
    assert (await chain.ask())[1] == ["cell-1", "cell-2"]
    chain.publish(pin="cell-2", since=11)
    assert (await chain.ask())[1] == ["cell-2"]
    assert len(chain.router.router.misroutes._hints) == 0
    chain.publish(pin="cell-4", since=20)
    assert ((await chain.ask())[1], chain.told_epoch("cell-4")) == (["cell-4"], 20)
    chain.publish(pin="cell-2", since=11)  # a map is newer as a whole, and its pin counts; the cells know better
    chain.moved("cell-2", "cell-4", 20)
    assert (await chain.ask())[1] == ["cell-2", "cell-4"]


async def test_who_came_back_is_found_whatever_the_map_says(chain: Chain) -> None:
    """From the first cell to the second and back, at once: the map names the first one all the time."""
    chain.moved("cell-1", "cell-2", 11)
    assert (await chain.ask())[1] == ["cell-1", "cell-2"]
    chain.moved("cell-2", "cell-1", 13)
    assert (await chain.ask())[1] == ["cell-1", "cell-2"]
    assert chain.told_epoch("cell-1") == 13
    chain.publish()
    assert ((await chain.ask())[1], chain.told_epoch("cell-1")) == (["cell-1"], 13)


async def test_a_remembered_hint_that_lies_is_forgotten(chain: Chain) -> None:
    chain.moved("cell-1", "cell-2", 11)
    await chain.ask()

    async def unknown(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(404, {"code": "USER_NOT_FOUND", "status": 404, "detail": "no such user in this cell"}))

    chain.router.cells["cell-2"].behave = unknown
    chain.router.cells["cell-1"].behave = chain.router.cells["cell-1"].succeed
    got, asked = await chain.ask()
    assert (got.status, got.code, asked) == (503, "CELL_UNAVAILABLE", ["cell-2"])
    assert (await chain.ask())[1] == ["cell-1"]
