"""Stale maps are harmless: 421, refresh, once more; and no hint can start a loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.errors import CellUnavailable
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import read_answer
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


@pytest.mark.parametrize(("owner", "epoch"), [("cell-2", 5), ("cell-2", 0), ("cell-9", 9), (None, 9), ("cell-1", 9)])
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
    assert [len(cell.seen) for cell in router.cells.values()] == [1, 1]
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
