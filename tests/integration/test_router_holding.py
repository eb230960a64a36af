"""Requests of a halted user wait, bounded, and go on in order: reads only once the user has left. Others go on."""

import asyncio
import io
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from infra.runtime.logs import json_lines
from router import hold, slow_path
from router.settings import HoldSettings, UpstreamSettings
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import Answer, read_answer, request_bytes
from tests.support.routers import RouterUnderTest, map_of, running_router
from tests.support.stub_cell import SeenRequest, StubCell, answer

pytestmark = pytest.mark.anyio


class MovingCell:
    """A cell that halts one user's writes, then lets the user go or says that the user has left."""

    def __init__(self, cell: StubCell) -> None:
        self.cell = cell
        self.halted = True
        self.arriving = False
        """It has a copy of the user, whom another cell owns: reads are refused as writes are."""
        self.owner: tuple[str, int] | None = None
        self.lease_s = 30.0
        self.done: list[int] = []
        self.asked = 0
        cell.behave = self.behave

    async def behave(self, request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        if request.method == "GET" and not self.arriving:
            writer.write(answer(200, {"cell": self.cell.cell_id}))
        elif self.owner is not None:
            owner, epoch = self.owner
            writer.write(answer(421, {"code": "MISDIRECTED", "owner": owner, "epoch": epoch, "status": 421}))
        elif self.halted:
            self.asked += 1
            ends = (datetime.now(UTC) + timedelta(seconds=self.lease_s)).isoformat()
            writer.write(answer(503, {"code": "USER_HALTED", "status": 503, "lease_ends_at": ends}, "retry-after: 1"))
        else:
            await self.take(request, writer)

    async def take(self, request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.002)  # a second write sent at the same time would overtake this one
        self.done.append(json.loads(request.body)["n"])
        writer.write(answer(201, {"cell": self.cell.cell_id, "n": self.done[-1]}))


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    async with running_router(
        tmp_path,
        hold=HoldSettings(wait_s=2.0, waiting_per_user_max=8, waiting_max=12),
        upstream=UpstreamSettings(deadline_s=5.0),
    ) as running:
        yield running


def write(router: RouterUnderTest, user_id: UUID, number: int) -> "asyncio.Task[Answer]":
    body = json.dumps({"n": number}).encode()
    return asyncio.create_task(
        router.ask("POST", "/v1/orders", token=router.token_of(user_id), key=f"k{number}", body=body)
    )


async def writes_in_order(router: RouterUnderTest, user_id: UUID, count: int) -> "list[asyncio.Task[Answer]]":
    tasks = []
    for number in range(count):
        tasks.append(write(router, user_id, number))
        await asyncio.sleep(0.01)
    return tasks


async def are_held(router: RouterUnderTest, count: int) -> None:
    async def are_waiting() -> bool:
        return router.router.holding.waiting == count

    await eventually(are_waiting)


async def first_done(tasks: "list[asyncio.Task[Answer]]", count: int) -> "list[asyncio.Task[Answer]]":
    """As soon as so many are: on a busy machine they need a moment."""

    async def are_done() -> bool:
        return sum(task.done() for task in tasks) >= count

    await eventually(are_done)
    return [task for task in tasks if task.done()]


async def test_held_writes_go_on_in_order_when_the_halt_ends(router: RouterUnderTest) -> None:
    cell = MovingCell(router.cells["cell-1"])
    user_id = router.user_of("cell-1")
    tasks = await writes_in_order(router, user_id, 6)
    await are_held(router, 6)
    assert not any(task.done() for task in tasks)
    assert_moved(router.router.metrics.render(), "router_held_requests", "router_holds_total")
    read = await router.ask("GET", "/v1/account", token=router.token_of(user_id))
    assert read.status == 200
    other = await router.ask("POST", "/v1/orders", token=router.token("cell-2"), key="o", body=b"{}")
    assert other.status == 200
    asked = cell.asked
    cell.halted = False
    answers = await asyncio.gather(*tasks)
    assert [got.status for got in answers] == [201] * 6
    assert cell.done == list(range(6))
    assert asked < 16  # one of the line asks, with pauses; not everybody, not all the time
    assert (router.router.holding.waiting, router.router.holding.queues) == (0, {})
    assert router.router.fleet.cell(router.shard_map.cells[0].cell_id).bulkhead.in_flight == 0


async def test_the_end_of_the_lease_is_not_slept_over(router: RouterUnderTest) -> None:
    cell = MovingCell(router.cells["cell-1"])
    cell.lease_s = 0.3
    task = write(router, router.user_of("cell-1"), 1)
    began = time.monotonic()
    await asyncio.sleep(0.25)
    cell.halted = False
    assert (await task).status == 201
    assert time.monotonic() - began < 1.8  # a hold ends after two seconds


async def test_a_flip_releases_at_once_to_the_new_owner(
    router: RouterUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "_FIRST_PAUSE_S", 30.0)  # so that nothing but the new map releases them
    monkeypatch.setattr(hold, "_PAUSE_MAX_S", 30.0)
    source, target = MovingCell(router.cells["cell-1"]), MovingCell(router.cells["cell-2"])
    target.halted = False
    user_id = router.user_of("cell-1")
    tasks = await writes_in_order(router, user_id, 5)
    await are_held(router, 5)
    source.owner = ("cell-2", 2)
    moved = map_of({name: (cell.url,) for name, cell in router.cells.items()}, epoch=2, pins=[(user_id, "cell-2")])
    router.router.watcher._offer(moved, "redis")
    answers = await asyncio.gather(*tasks)
    assert [(got.status, got.json()["cell"]) for got in answers] == [(201, "cell-2")] * 5
    assert (source.done, target.done) == ([], list(range(5)))


async def test_a_flip_is_found_by_the_refusal_before_the_map_has_come(router: RouterUnderTest) -> None:
    source, target = MovingCell(router.cells["cell-1"]), MovingCell(router.cells["cell-2"])
    target.halted = False
    tasks = await writes_in_order(router, router.user_of("cell-1"), 3)
    await are_held(router, 3)  # one that was not would be sent on beside them
    source.owner = ("cell-2", 2)
    answers = await asyncio.gather(*tasks)
    assert [got.status for got in answers] == [201] * 3
    assert target.done == [0, 1, 2]


async def test_reads_wait_as_well_for_a_cell_that_has_not_taken_the_user_over(router: RouterUnderTest) -> None:
    """The source has let them go, the target has the copy and not the certificate yet."""
    source, target = MovingCell(router.cells["cell-1"]), MovingCell(router.cells["cell-2"])
    source.owner = ("cell-2", 2)
    target.arriving, target.lease_s = True, -5.0
    user_id = router.user_of("cell-1")
    source.cell.refuse_with_421("cell-2", 2)
    read = asyncio.create_task(router.ask("GET", "/v1/account", token=router.token_of(user_id)))
    await are_held(router, 1)
    order = write(router, user_id, 7)
    await are_held(router, 2)
    late = asyncio.create_task(router.ask("GET", "/v1/orders", token=router.token_of(user_id)))
    await are_held(router, 3)
    assert not any(task.done() for task in (read, order, late))
    seen_by_source = len(source.cell.seen)
    target.arriving = target.halted = False
    answers = await asyncio.gather(read, order, late)
    assert [(got.status, got.json()["cell"]) for got in answers] == [(200, "cell-2"), (201, "cell-2"), (200, "cell-2")]
    assert len(source.cell.seen) == seen_by_source, "after a hold nobody goes back to the source"
    assert router.router.holding.queues == {}


async def test_a_read_that_waits_too_long_says_so(router: RouterUnderTest) -> None:
    MovingCell(router.cells["cell-1"]).arriving = True
    got = await router.ask("GET", "/v1/account", token=router.token("cell-1"))
    assert (got.status, got.code, got.headers["retry-after"]) == (503, "USER_HALTED", "1")
    assert router.router.holding.given_up == 1


async def test_a_write_that_waits_too_long_is_refused_with_retry_after(router: RouterUnderTest) -> None:
    MovingCell(router.cells["cell-1"])
    began = time.monotonic()
    answers = await asyncio.gather(*await writes_in_order(router, router.user_of("cell-1"), 3))
    assert time.monotonic() - began > 1.8, "given up before its time"
    for got in answers:
        assert (got.status, got.code, got.headers["retry-after"]) == (503, "USER_HALTED", "1")
    assert router.router.holding.given_up == 3
    assert router.router.holding.queues == {}
    assert_moved(router.router.metrics.render(), "router_holds_abandoned_total")


async def test_queues_are_bounded_per_user_and_in_all(router: RouterUnderTest) -> None:
    for cell in router.cells.values():
        MovingCell(cell)
    greedy = await writes_in_order(router, router.user_of("cell-1"), 11)
    early = await first_done(greedy, 3)
    assert [task.result().code for task in early] == ["USER_HALTED"] * 3
    others = await writes_in_order(router, router.user_of("cell-2"), 6)
    await first_done(others, 2)
    assert router.router.holding.waiting == 12
    answers = await asyncio.gather(*greedy, *others)
    assert {got.status for got in answers} == {503}
    assert all(got.headers["retry-after"] for got in answers)
    assert_moved(router.router.metrics.render(), "router_holds_shed_total")


async def test_a_client_that_leaves_takes_its_held_write_along(router: RouterUnderTest) -> None:
    cell = MovingCell(router.cells["cell-1"])
    user_id = router.user_of("cell-1")
    headers = {"Authorization": f"Bearer {router.token_of(user_id)}", "X-Idempotency-Key": "k0"}
    _, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(request_bytes("POST", "/v1/orders", headers, b'{"n": 0}'))
    await are_held(router, 1)
    stays = write(router, user_id, 1)
    await are_held(router, 2)
    writer.transport.abort()
    await are_held(router, 1)
    cell.halted = False
    assert (await stays).status == 201
    assert cell.done == [1]


async def test_a_cell_that_dies_while_writes_are_held_ends_them_cleanly(router: RouterUnderTest) -> None:
    MovingCell(router.cells["cell-1"])
    tasks = await writes_in_order(router, router.user_of("cell-1"), 3)
    await router.cells["cell-1"].die()
    answers = await asyncio.gather(*tasks)
    assert {got.status for got in answers} == {503}
    assert {got.code for got in answers} <= {"CELL_UNAVAILABLE", "OUTCOME_UNKNOWN", "USER_HALTED"}
    assert router.router.holding.queues == {}


async def test_pipelined_writes_of_one_connection_are_held_one_by_one(router: RouterUnderTest) -> None:
    cell = MovingCell(router.cells["cell-1"])
    token = router.token_of(router.user_of("cell-1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    for number in range(4):
        headers = {"Authorization": f"Bearer {token}", "X-Idempotency-Key": f"k{number}"}
        writer.write(request_bytes("POST", "/v1/orders", headers, json.dumps({"n": number}).encode()))
    await are_held(router, 1)
    cell.halted = False
    got: list[Any] = [(await read_answer(reader)).json()["n"] for _ in range(4)]
    writer.close()
    assert got == [0, 1, 2, 3]


async def test_what_breaks_while_a_request_is_carried_is_logged_with_its_ids(
    router: RouterUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def our_mistake(*_: object) -> None:
        raise LookupError("of the router's own")

    MovingCell(router.cells["cell-1"])
    monkeypatch.setattr(slow_path, "read_halted", our_mistake)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(json_lines("router-1"))
    trace_id = secrets.token_hex(16)
    headers = {"X-Request-Id": "request-7", "traceparent": f"00-{trace_id}-{trace_id[:16]}-01"}
    logging.getLogger("router.slow_path").addHandler(handler)
    try:
        token = router.token("cell-1")
        got = await router.ask("POST", "/v1/orders", token=token, key="k", body=b'{"n": 0}', headers=headers)
    finally:
        logging.getLogger("router.slow_path").removeHandler(handler)
    assert (got.status, got.headers["x-request-id"]) == (500, "request-7")
    line = json.loads(written.getvalue())
    assert (line["request_id"], line["trace_id"], line["level"]) == ("request-7", trace_id, "error")
    assert line["error"] == "LookupError: of the router's own"
