"""What the leader does besides operations: schedules, samples of counters, what it mends by itself, what it forgets."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from infra.backends.local.backend import LocalBackend
from infra.backends.local.backup_files import write_note
from infra.backends.local.record import save_record
from infra.runtime.build import build_id
from infra.runtime.clock import SystemClock
from infra.runtime.database import make_pool
from infra.runtime.http_client import HttpClient
from infra.runtime.operator_api import create_operator_app, serving
from infra.runtime.settings import ListenSettings, PostgresSettings
from infra.runtime.telemetry import Metrics
from infra.security.roles import Role
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from router.metrics import TABLE as ROUTER
from shardctl.operations.catalog import KINDS
from shardctl.operations.errors import LeaseLost
from shardctl.operations.kinds.cells_calendar import CELLS_CALENDAR
from shardctl.operations.kinds.control_prune import CONTROL_PRUNE
from shardctl.operations.queries import Operations
from shardctl.operations.resources import StackResources
from shardctl.persons import Person, Way
from shardctl.service import watches as watches_module
from shardctl.service.archiving import PATIENCE_S, Archiving
from shardctl.service.metrics import METRICS
from shardctl.service.queries import ControlState
from shardctl.service.sampling import Sampling
from shardctl.service.schedules import BACKUP_KINDS, SCHEDULES, Schedules
from shardctl.service.submissions import Submissions
from shardctl.service.watches import Watches
from shardctl.shardmap.store import open_store
from tests.support.control_service import folder_stack
from tests.support.databases import TestDatabase
from tests.support.moved_metrics import assert_moved
from tests.support.redis_server import redis_server
from tests.unit.shardctl.backups.test_coverage import backup

ANN = Person("ann", Role.OPERATOR, Way.SOCKET)
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


class Scene:
    """A leader's parts on a stack that is a folder."""

    def __init__(
        self, operations: Operations, state: ControlState, backend: LocalBackend, database: TestDatabase
    ) -> None:
        self.operations, self.state, self.backend, self.database = operations, state, backend, database
        self.metrics = Metrics(METRICS)
        self.lease = 0
        self.submissions = Submissions(operations, KINDS, self.resources, approvals=frozenset(), wake=lambda: None)

    def resources(self, actor: str = "ann", reason: str | None = None) -> StackResources:
        return StackResources(self.backend, SystemClock(), self.database.leader_dsn, self.lease, actor, reason)

    def root(self, statement: str, *parameters: Any) -> list[Any]:
        with psycopg.connect(self.database.superuser_dsn, autocommit=True) as root:
            cursor = root.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def scene(control_database: TestDatabase, tmp_path: Path, redis_url: str) -> AsyncIterator[Scene]:
    async with make_pool(PostgresSettings(dsn=control_database.leader_dsn), "test", size=2) as pool:
        backend = folder_stack(tmp_path, redis_url=redis_url)
        found = Scene(Operations(pool), ControlState(pool), backend, control_database)
        found.lease = await found.operations.acquire_lease("test", 600) or 0
        yield found


async def test_what_is_due_begins_once_also_after_days_without_a_leader(scene: Scene) -> None:
    schedules = Schedules(scene.state, scene.submissions, {}, scene.metrics)
    await schedules.begin_what_is_due(scene.lease)
    assert (await scene.state.schedules()).keys() == {schedule.name for schedule in SCHEDULES}
    assert await scene.operations.newest(10) == []  # a new stack owes nothing

    scene.root("update control.schedules set due_at = due_at - interval '3 days' where name = 'prune'")
    due = (await scene.state.schedules())["prune"].due_at
    await schedules.begin_what_is_due(scene.lease)
    [begun] = await scene.operations.newest(10)
    assert (begun.kind, begun.actor, begun.reason) == ("control.prune", "schedule", SCHEDULES[2].reason)
    row = (await scene.state.schedules())["prune"]
    assert row.operation_id == begun.operation_id
    assert row.due_at > await scene.state.now()

    # A back end that leaves backups to others never owes one.
    scene.root("update control.schedules set due_at = due_at - interval '30 days' where name = 'backup'")
    elsewhere = Schedules(scene.state, scene.submissions, {}, scene.metrics, without=BACKUP_KINDS)
    await elsewhere.begin_what_is_due(scene.lease)
    assert [each.operation_id for each in await scene.operations.newest(10)] == [begun.operation_id]
    scene.root("update control.schedules set due_at = due_at + interval '60 days' where name = 'backup'")

    # The leader died before it wrote down that it had begun.
    scene.root("update control.schedules set due_at = %s where name = 'prune'", due)
    await schedules.begin_what_is_due(scene.lease)
    assert [each.operation_id for each in await scene.operations.newest(10)] == [begun.operation_id]

    # The one before has not ended: this one waits, and that shows.
    scene.root("update control.schedules set due_at = clock_timestamp() - interval '1 hour' where name = 'prune'")
    await schedules.begin_what_is_due(scene.lease)
    assert len(await scene.operations.newest(10)) == 1
    assert_moved(scene.metrics.render(), "shardctl_schedule_late_seconds")

    # It has failed: that shows too, until another has begun.
    scene.root("update control.schedules set due_at = %s where name = 'prune'", due + timedelta(days=900))
    scene.root("update control.operations set state = 'failed', exit_code = 1, ended_at = clock_timestamp()")
    assert (await scene.state.schedules())["prune"].has_failed
    await schedules.begin_what_is_due(scene.lease)
    assert_moved(scene.metrics.render(), "shardctl_schedule_failed")
    with pytest.raises(LeaseLost):
        await scene.state.set_due(scene.lease + 1, "prune", after=None, due_at=due, operation=None)


async def test_a_database_that_lost_its_archive_is_backed_up_once(scene: Scene) -> None:
    now_s = 0.0
    archiving = Archiving(scene.submissions, scene.backend, monotonic=lambda: now_s)
    assert await archiving.begin_where_nothing_is_archived(scene.lease) == [], "no backup, no archive"
    folder = scene.backend.folder.backups("cell-1-postgres") / "cell-1-x"
    folder.mkdir(parents=True)
    write_note(folder, backup("cell-1-x", 0))
    assert await archiving.begin_where_nothing_is_archived(scene.lease) == [], "a restore takes its own"
    now_s = PATIENCE_S
    [number] = await archiving.begin_where_nothing_is_archived(scene.lease)
    begun = await scene.operations.read(number)
    assert (begun.kind, begun.actor, begun.arguments["of"]) == ("backup.create", "control", "cell-1")
    assert await archiving.begin_where_nothing_is_archived(scene.lease) == [], "it is under way"
    record = scene.backend.record().with_archive("cell-1-postgres", "archive_1")
    save_record(scene.backend.folder.record, record)
    assert await archiving.begin_where_nothing_is_archived(scene.lease) == []


async def test_counters_are_kept_by_age_with_who_counted_them(scene: Scene) -> None:
    port = scene.backend.record().port("router-1.operator")
    counted = Metrics(ROUTER)
    counted.counter("router_refusals_total").labels("BUSY").inc(3)

    async def ready() -> tuple[bool, dict[str, object]]:
        return True, {}

    sampling = Sampling(scene.state, scene.backend, scene.metrics)
    async with (
        serving(create_operator_app(metrics=counted, ready=ready), ListenSettings(port=port)),
        HttpClient() as http,
    ):
        for _ in range(3):
            assert await sampling.sample_once(scene.lease, http) == 1
        with pytest.raises(LeaseLost):
            await sampling.sample_once(scene.lease + 1, http)
    rows = scene.root(
        "select process, cell, release, started_at_s > 0, counters->>'router_refusals_total{code=\"BUSY\"}',"
        " is_kept_long from control.counter_samples order by sampled_at"
    )
    assert {row[:5] for row in rows} == {("router-1", None, build_id(), True, "3.0")}
    assert rows[0][5]
    assert sum(row[5] for row in rows) <= 2  # a minute may end in between
    assert_moved(scene.metrics.render(), "shardctl_samples_total", "shardctl_sample_gaps_total")


async def test_what_is_old_is_deleted_in_pieces_and_what_is_young_stays(scene: Scene) -> None:
    insert = (
        "insert into control.counter_samples"
        " select clock_timestamp() - %s::interval, 'p' || n, null, 'dev', 0, %s, '{}' from generate_series(1, 2500) n"
    )
    for age, is_kept_long in (("3 hours", False), ("3 hours", True), ("30 days", True), ("1 minute", False)):
        scene.root(insert, age, is_kept_long)
    proposal = await scene.submissions.propose("control.prune", {}, person=ANN, reason=None)
    for key in ("old", "young"):
        await scene.submissions.begin(proposal, attempt=None, person=ANN, reason=None, key=key, expected=None)
        number = (await scene.operations.newest(1))[0].operation_id
        await scene.operations.cancel(number, 1_000, "ann", None, {})  # an attempt that nobody has ended
    scene.root("update control.operations set ended_at = '2001-01-01' where idempotency_key = 'old'")
    assert [step.action for step in CONTROL_PRUNE.plan({}, {}).steps] == ["prune"]
    deleted = 0
    while piece := await scene.resources().prune():
        deleted += piece
    assert deleted == 2_500 + 2_500 + 1
    assert scene.root("select count(*) from control.counter_samples") == [(5_000,)]
    assert [each.reason for each in await scene.operations.newest(10)] == [None]


async def test_a_calendar_is_written_cell_by_cell() -> None:
    steps = CELLS_CALENDAR.plan(CELLS_CALENDAR.parse({}), {"cells": ["cell-1", "cell-2"]}).steps
    assert [step.key for step in steps] == ["write cell-1's calendar", "write cell-2's calendar"]


@asynccontextmanager
async def answering(port: int) -> AsyncIterator[None]:
    async def ready() -> tuple[bool, dict[str, object]]:
        return True, {}

    async with serving(create_operator_app(metrics=Metrics(()), ready=ready), ListenSettings(port=port)):
        yield


async def test_an_emptied_redis_is_published_to_and_new_addresses_are_taken_in(
    scene: Scene, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(scene.database.owner_dsn) as store:
        await store.create_lineage()
        old = Cell(CellId("cell-1"), api_urls=("http://127.0.0.1:1",), operator_urls=("http://127.0.0.1:1",))
        await store.add_cell(old, actor="ann", reason="a test")
    watches = Watches(scene.state, scene.backend, scene.database.leader_dsn, scene.metrics)
    assert await watches.take_in_addresses(scene.lease) == 0  # nobody answers there
    async with answering(scene.backend.record().port("cell-1-api-1.operator")):
        async with scene.backend.lock():
            monkeypatch.setattr(watches_module, "_LOCKED_S", 0.3)
            assert await watches.take_in_addresses(scene.lease) == 0  # somebody renews a server, perhaps
        monkeypatch.undo()
        assert await watches.take_in_addresses(scene.lease) == 1
        assert await watches.take_in_addresses(scene.lease) == 0
    async with open_store(scene.database.owner_dsn) as store:
        [cell] = (await store.load()).cells
        assert cell.api_urls == scene.backend.addresses().api_urls(scene.backend.spec().cells[0])
        [newest, *_] = await store.history(1)
        assert (newest.actor, newest.reason) == ("control", "its addresses changed")

    assert await watches.publish_to_redis(scene.lease) == 1
    assert await watches.publish_to_redis(scene.lease) == 0
    redis.Redis.from_url(redis_url).flushall()
    assert await watches.publish_to_redis(scene.lease) == 1
    redis.Redis.from_url(redis_url).set("shardmap:snapshot", b"damaged")
    assert await watches.publish_to_redis(scene.lease) == 1
    assert await watches.publish_to_redis(scene.lease) == 0

    await watches._look("redis", watches.publish_to_redis, scene.lease)
    redis.Redis.from_url(redis_url).flushall()
    await watches._look("redis", watches.publish_to_redis, scene.lease)
    broken = Watches(scene.state, scene.backend, "postgresql://127.0.0.1:1/x", scene.metrics)
    await broken._look("redis", broken.publish_to_redis, scene.lease)
    assert_moved(scene.metrics.render(), "shardctl_watch_repairs_total", "shardctl_watch_failures_total")

    scene.root("update control.cells set api_urls = '{http://127.0.0.1:2}'")
    async with answering(scene.backend.record().port("cell-1-api-1.operator")):
        with pytest.raises(LeaseLost):
            await watches.take_in_addresses(scene.lease + 1)
        with pytest.raises(LeaseLost):
            await watches.take_in_addresses(scene.lease)
    assert scene.root("select api_urls from control.cells") == [(["http://127.0.0.1:2"],)]
