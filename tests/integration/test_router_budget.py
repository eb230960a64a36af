"""A request has one deadline: whatever it waits for in the router is taken from what its cell is given, and what has no
time left is not sent."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from router.budget import WAY_BACK_S, budget_ms, budget_s
from router.settings import HoldSettings, UpstreamSettings
from tests.support.eventually import eventually
from tests.support.raw_http import Answer
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import Behaviour, SeenRequest, StubCell, answer

pytestmark = pytest.mark.anyio

DEADLINE_S = 4.0
WAIT_S = 0.3


def given_ms(request: SeenRequest) -> int:
    return int(request.header("x-deadline-ms") or -1)


def whole_ms() -> int:
    return int(budget_ms(DEADLINE_S, 0.0))


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    limits = UpstreamSettings(deadline_s=DEADLINE_S, in_flight_max=1, queue_wait_s=DEADLINE_S)
    async with running_router(tmp_path, upstream=limits, hold=HoldSettings(wait_s=DEADLINE_S)) as running:
        yield running


async def is_asked(cell: StubCell) -> bool:
    return bool(cell.seen)


def halted() -> bytes:
    ends = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    return answer(503, {"code": "USER_HALTED", "status": 503, "lease_ends_at": ends})


def after(wait_s: float, said: bytes) -> Behaviour:
    async def behave(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(wait_s)
        writer.write(said)

    return behave


async def order(router: RouterUnderTest, token: str, key: str = "k") -> Answer:
    return await router.ask("POST", "/v1/orders", token=token, key=key, body=b"{}")


def test_the_cell_gets_what_is_left_less_the_way_back() -> None:
    assert budget_ms(8.0, 0.0) == b"%d" % ((8.0 - WAY_BACK_S) * 1000)
    assert budget_ms(8.0, 7.99) == b"1"
    assert budget_s(8.0, 7.95) < 0


async def test_a_request_that_waits_for_nothing_gets_it_all(router: RouterUnderTest) -> None:
    await router.ask("GET", "/v1/account", token=router.token())  # connects
    await order(router, router.token())
    assert given_ms(router.cells["cell-1"].seen[-1]) == whole_ms()


async def test_what_a_hold_took_is_not_given_again(router: RouterUnderTest) -> None:
    cell = router.cells["cell-1"]
    cell.behave = after(0.0, halted())
    token = router.token()
    request = asyncio.create_task(order(router, token))
    await asyncio.sleep(WAIT_S)
    cell.behave = cell.succeed
    assert (await request).status == 200
    given = [given_ms(seen) for seen in cell.seen]
    assert given == sorted(given, reverse=True)
    assert given[-1] <= whole_ms() - WAIT_S * 1000


async def test_what_the_wrong_cell_took_is_not_given_to_the_right_one(router: RouterUnderTest) -> None:
    wrong, right = router.cells["cell-1"], router.cells["cell-2"]
    wrong.behave = after(WAIT_S, answer(421, {"code": "MISDIRECTED", "owner": "cell-2", "epoch": 9, "status": 421}))
    assert (await order(router, router.token("cell-1"))).status == 200
    assert given_ms(right.seen[0]) <= given_ms(wrong.seen[0]) - WAIT_S * 1000


async def test_what_the_queue_took_is_not_given_again(router: RouterUnderTest) -> None:
    cell, token = router.cells["cell-1"], router.token()
    cell.behave = after(WAIT_S, answer(200, {}))
    first = asyncio.create_task(order(router, token, "first"))
    await eventually(lambda: is_asked(cell))
    second = asyncio.create_task(order(router, token, "second"))
    assert [(await each).status for each in (first, second)] == [200, 200]
    assert given_ms(cell.seen[1]) < whole_ms()


async def test_what_broke_late_is_sent_again_with_what_is_left(router: RouterUnderTest) -> None:
    cell = router.cells["cell-1"]

    async def break_off(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        cell.behave = cell.succeed
        await asyncio.sleep(WAIT_S)
        writer.transport.abort()

    cell.behave = break_off
    assert (await order(router, router.token())).status == 200
    assert given_ms(cell.seen[1]) <= given_ms(cell.seen[0]) - WAIT_S * 1000


async def test_who_has_no_time_left_when_it_is_their_turn_is_not_sent(tmp_path: Path) -> None:
    """Not an unknown outcome: the cell has never heard of it."""
    limits = UpstreamSettings(deadline_s=0.6, in_flight_max=1, queue_wait_s=30.0)
    async with running_router(tmp_path, upstream=limits) as router:
        cell, token = router.cells["cell-1"], router.token()
        cell.behave = after(30.0, b"")
        first = asyncio.create_task(order(router, token, "first"))
        await eventually(lambda: is_asked(cell))
        second = await order(router, token, "second")
        assert (second.status, second.code) == (503, "OVERLOADED")
        assert "nothing was done" in second.json()["detail"]
        assert (await first).code == "OUTCOME_UNKNOWN"
        assert len(cell.seen) == 1
        assert router.router.fleet.cell(router.shard_map.cells[0].cell_id).bulkhead.in_flight == 0


async def test_a_held_write_is_not_held_beyond_its_deadline(tmp_path: Path) -> None:
    upstream, hold = UpstreamSettings(deadline_s=0.6), HoldSettings(wait_s=30.0)
    async with running_router(tmp_path, upstream=upstream, hold=hold) as router:
        router.cells["cell-1"].behave = after(0.0, halted())
        began = time.monotonic()
        got = await order(router, router.token())
        assert (got.status, got.code) == (503, "USER_HALTED")
        assert time.monotonic() - began < 10.0
        assert router.router.holding.queues == {}


async def test_a_sign_up_has_one_budget_for_all_it_asks_of_a_cell(router: RouterUnderTest) -> None:
    """Refused by the first cell late: the second is given what is left."""
    wrong, right = router.cells["cell-1"], router.cells["cell-2"]
    wrong.behave = after(WAIT_S, answer(421, {"code": "MISDIRECTED", "owner": "cell-2", "epoch": 9, "status": 421}))
    user_id = router.user_of("cell-1")
    asked = await router.router.calls.post(user_id, "/internal/v1/sessions", {"password": "x"}, request_id="r")
    assert json.loads(asked.body)["cell"] == "cell-2"
    assert given_ms(right.seen[0]) <= given_ms(wrong.seen[0]) - WAIT_S * 1000
