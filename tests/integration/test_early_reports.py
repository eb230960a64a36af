"""A bust that overtakes its fill, a fill that overtakes the bust which makes room for it: it waits where operators see
it, through restarts, is applied with what it waits for, and goes to a person when that never comes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cell.executions.early import EarlyReports
from cell.executions.metrics import WORKER_METRICS
from cell.operations.queries import QUARANTINE, read_all
from infra.runtime.cancelling import cancel_all
from infra.runtime.database import make_pool
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from tests.support.cutting_proxy import cutting_proxy
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.inbox_scene import PX, QTY, InboxScene, inbox_scene
from tests.support.later_clock import LaterClock
from tests.support.moved_metrics import assert_moved

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(cell_database: TestDatabase) -> AsyncIterator[InboxScene]:
    async with inbox_scene(cell_database) as made:
        yield made


async def test_what_comes_before_its_fill_waits_through_a_restart_and_follows_it(scene: InboxScene) -> None:
    """A correction of a fill and that correction's bust, twice, and then the fill: all of it counts, each once."""
    order = await scene.order()
    fill = scene.books.fill(order, QTY)
    correction = scene.books.revise(order, "correct", last_qty=QTY // 2, last_px=PX)
    order.last_exec_id = str(correction["exec_id"])
    bust = scene.books.revise(order, "bust")
    async with scene.working() as inbox:
        await scene.tell(inbox, bust, bust, correction)
        await scene.has_early(3)
    assert await scene.waiting() == ["bust", "bust", "correct"]
    async with scene.working() as inbox:
        await scene.tell(inbox, fill, fill)
        await scene.comes_to(order, "cancelled", 3)
        assert await scene.shown() == (0, 0)


async def test_a_death_between_a_fill_and_its_bust_loses_neither(scene: InboxScene) -> None:
    order = await scene.order()
    fill, bust = scene.books.fill(order, QTY), scene.books.revise(order, "bust")
    async with scene.working() as inbox:
        await scene.tell(inbox, bust)
        await scene.has_early(1)
    connection = scene.books.connection
    accept = "select inbox_id from accept_reports_v1('exchange', 'cell-1', '{2}', %s, %s, now())"
    [(inbox_id,)] = await (await connection.execute(accept, [[order.order_id], [Jsonb(fill)]])).fetchall()
    apply = "select inbox_id, outcome, user_id from apply_reports_v1(%s, '2026-11-23')"
    applied, returned = await (await connection.execute(apply, [[inbox_id]])).fetchall()
    assert applied == (inbox_id, "applied", order.user_id)
    assert returned == (inbox_id - 1, "returned", order.user_id)
    async with scene.working():
        await scene.comes_to(order, "cancelled", 2)


@asynccontextmanager
async def answer_lost(
    scene: InboxScene, database: TestDatabase, waits: Sequence[dict[str, object]], comes: dict[str, object]
) -> AsyncIterator[None]:
    """The last of `waits` waits for `comes`, and the worker gets no answer to the call that applies this. Nobody tells
    it what is in the inbox again; it looks."""
    address = urlsplit(database.service_dsn)
    with psycopg.connect(database.superuser_dsn, autocommit=True) as superuser:  # ids that stand in no other call
        superuser.execute("alter table brokerage.inbox alter column id restart with 1000001")
    async with cutting_proxy(str(address.hostname), int(address.port or 0)) as proxy:
        dsn = database.service_dsn.replace(f":{address.port}/", f":{proxy.port}/")
        async with make_pool(PostgresSettings(dsn=dsn), "test-early", size=3) as pool, scene.working(pool) as inbox:
            await scene.tell(inbox, *waits)
            await scene.has_early(1)
            proxy.armed_by, proxy.replies_to_lose = (1_000_001 + len(waits)).to_bytes(4, "big"), 1
            await scene.tell(inbox, comes)
            yield
            assert proxy.lost == 1


async def test_a_lost_answer_of_the_call_that_brings_it_back(scene: InboxScene, cell_database: TestDatabase) -> None:
    order = await scene.order()
    fill, bust = scene.books.fill(order, QTY), scene.books.revise(order, "bust")
    async with answer_lost(scene, cell_database, [bust], fill):
        await scene.comes_to(order, "cancelled", 2)


async def test_a_fill_beyond_its_order_waits_through_a_restart_for_the_bust_that_makes_room(
    scene: InboxScene, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator hears of it at once, and of which order; nothing of it is applied twice."""
    order = await scene.order()
    first = scene.books.fill(order, QTY)
    bust, second = scene.books.revise(order, "bust"), scene.books.fill(order, QTY)
    with caplog.at_level(logging.WARNING):
        async with scene.working() as inbox:
            await scene.tell(inbox, first, second, second)
            await scene.has_early(2)
    said = [record for record in caplog.records if record.message == "report waits"]
    assert [vars(record)["order_id"] for record in said] == [order.order_id] * 2
    assert vars(said[0])["reason"] == f"waits for room for {QTY} micros of the order's quantity"
    assert await scene.waiting() == ["fill", "fill"]
    async with scene.working() as inbox:
        await scene.tell(inbox, bust, second, bust)
        await scene.comes_to(order, "filled", 3)
        assert await scene.shown() == (0, 0)


@pytest.mark.parametrize("calls", [1, 2])
async def test_a_death_while_a_correction_supersedes_its_fill_loses_neither(scene: InboxScene, calls: int) -> None:
    order = await scene.order()
    fill = scene.books.fill(order, QTY)
    correction = scene.books.revise(order, "correct", last_qty=QTY // 2, last_px=PX)
    beside = scene.books.fill(order, QTY // 2)
    async with scene.working() as inbox:
        await scene.tell(inbox, beside, fill)
        await scene.has_early(1)
    connection = scene.books.connection
    accept = "select inbox_id from accept_reports_v1('exchange', 'cell-1', '{3}', %s, %s, now())"
    scene.seq += 1
    [(inbox_id,)] = await (await connection.execute(accept, [[order.order_id], [Jsonb(correction)]])).fetchall()
    apply = "select inbox_id, outcome from apply_reports_v1(%s, '2026-11-23')"
    found = [await (await connection.execute(apply, [[inbox_id - n]])).fetchall() for n in range(calls)]
    assert found[0] == [(inbox_id, "early"), (inbox_id - 1, "returned")]
    assert found[1:] in ([], [[(inbox_id - 1, "applied"), (inbox_id, "returned")]])
    async with scene.working() as inbox:
        await scene.tell(inbox, fill, beside, correction)
        await scene.comes_to(order, "filled", 3)
        assert await scene.shown() == (0, 0)


async def test_a_lost_answer_of_the_call_that_makes_a_fill_superseded(
    scene: InboxScene, cell_database: TestDatabase
) -> None:
    order = await scene.order()
    fill = scene.books.fill(order, QTY)
    correction = scene.books.revise(order, "correct", last_qty=QTY // 2, last_px=PX)
    beside = scene.books.fill(order, QTY // 2)
    async with answer_lost(scene, cell_database, [beside, fill], correction):
        await scene.comes_to(order, "filled", 3)


async def test_a_lost_answer_of_the_call_that_makes_room(scene: InboxScene, cell_database: TestDatabase) -> None:
    order = await scene.order()
    first = scene.books.fill(order, QTY)
    bust, second = scene.books.revise(order, "bust"), scene.books.fill(order, QTY)
    async with answer_lost(scene, cell_database, [first, second], bust):
        await scene.comes_to(order, "filled", 3)


async def test_an_execution_that_never_comes_is_for_a_person(
    scene: InboxScene, cell_database: TestDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    cell_database.rehearse("25 hours")
    order, clock, metrics = await scene.order(), LaterClock(), Metrics(WORKER_METRICS)
    fill, bust = scene.books.fill(order, QTY), scene.books.revise(order, "bust")
    assert await scene.books.tell([bust]) == ["early"]
    for hours, shown in ((23, (1, 0)), (25, (0, 1))):
        clock.after = timedelta(hours=hours)
        settings = PostgresSettings(dsn=cell_database.service_dsn, clock_offset_s=clock.after.total_seconds())
        async with make_pool(settings, "later") as pool:
            with caplog.at_level(logging.ERROR):
                await EarlyReports(pool, cell="cell-1", clock=clock, metrics=metrics).look()
        assert await scene.shown() == shown
        if hours == 23:
            assert_moved(metrics.render(), "cell_reports_early")
    assert "a report waited in vain" in caplog.text
    [row] = await read_all(scene.pool, QUARANTINE, [0, 10])
    assert (row["reason"], row["body"]["exec_id"]) == ("takes back an execution that never came", bust["exec_id"])
    assert await scene.books.tell([fill]) == ["applied"]
    await scene.comes_to(order, "filled", 1)


async def test_a_database_that_is_away_is_asked_again_and_counted(cell_database: TestDatabase) -> None:
    metrics = Metrics(WORKER_METRICS)
    pool = make_pool(PostgresSettings(dsn=cell_database.service_dsn), "closed")  # never opened: nothing answers

    async def is_counted() -> bool:
        return b'cell_worker_failures_total{cell="cell-1",task="early"} 1.0' in metrics.render()

    looking = asyncio.create_task(EarlyReports(pool, cell="cell-1", clock=LaterClock(), metrics=metrics).run())
    try:
        await eventually(is_counted)
        assert_moved(metrics.render(), "cell_worker_failures_total")
    finally:
        await cancel_all([looking])
