"""The audit chain in the control database: who may append, in which order, and what shows when it is touched."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from infra.backends.topics import AUDIT_HEADS
from infra.runtime.database import make_pool
from infra.runtime.kafka_admin import ensure_topics
from infra.runtime.migrator import MigrationPhase, migrate
from infra.runtime.settings import KafkaSettings, PostgresSettings
from shardctl.audit.head import Head
from shardctl.audit.heads import publish_head, read_heads
from shardctl.audit.queries import Audit, Wanted, Who, audit_of
from shardctl.audit.row import GENESIS_HASH
from shardctl.audit.verify import verify_rows
from shardctl.audit.walk import Fault, Walked
from shardctl.errors import NotReachable
from tests.support.databases import TestDatabase
from tests.support.forged_audit import all_rows, as_root, rewrite_one, rewrite_tail
from tests.support.kafka_broker import KafkaBroker

pytestmark = pytest.mark.anyio

ANN = Who("ann", "operator", "socket")
UNDO = (
    "drop trigger carry on control.privileged_acts", "drop function control.carry_act",
    "drop table control.acts_in_audit, control.audit, control.audit_lock", "drop function control.chain_audit_row",
    "alter table control.operations drop column attempt",
    "delete from migrations.applied where name like '%audit%'",
)  # fmt: skip
"""As the headers of the migrations say."""
OLD_ACT = (
    "insert into control.privileged_acts (completes, at, actor, act, target, reason, arguments, outcome, detail)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s, %s) returning entry_id"
)
"""What `record_act_v1` of the releases before the chain does."""


@pytest.fixture
async def audit(control_database: TestDatabase) -> AsyncIterator[Audit]:
    async with make_pool(PostgresSettings(dsn=control_database.leader_dsn), "test", size=8) as pool:
        yield audit_of(pool)


async def fill(audit: Audit, count: int, who: Who = ANN) -> None:
    """Attempts, and how they ended."""
    for place in range(count):
        number = await audit.begin(who, "cells.cordon", f"cell-{place}", reason="größer", arguments={"n": place})
        await audit.end(number, "done", "it was" if place % 2 else None)


def walked(database: TestDatabase, heads: dict[int, tuple[Head, ...]] | None = None) -> Walked:
    return verify_rows(all_rows(database), heads or {}, lambda _: None)


async def test_the_database_and_we_compute_the_same_hashes(control_database: TestDatabase, audit: Audit) -> None:
    assert (await audit.head()).hash == GENESIS_HASH
    await fill(audit, 3)
    rows = all_rows(control_database)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.ends for row in rows] == [None, 1, None, 3, None, 5]
    assert rows[0].previous_hash == GENESIS_HASH
    found = walked(control_database)
    assert found.is_intact, found.findings
    head = await audit.head()
    assert (head.number, head.hash) == (6, found.head)
    assert await audit.rows(4) == rows[4:]
    assert await audit.before(rows[2].moment) == 2
    assert await audit.before(datetime.now(UTC) + timedelta(days=1)) == 6


async def test_attempts_are_found_by_who_what_and_when(audit: Audit) -> None:
    await fill(audit, 3)
    await fill(audit, 1, Who("bob", "admin", "oidc"))
    newest = await audit.newest(Wanted())
    assert [(each.number, each.subject, each.outcome) for each in newest] == [
        (7, "bob", "done"), (5, "ann", "done"), (3, "ann", "done"), (1, "ann", "done"),
    ]  # fmt: skip
    assert (newest[0].role, newest[0].way, newest[0].reason, newest[0].arguments) == (
        "admin",
        "oidc",
        "größer",
        {"n": 0},
    )
    wanted = (Wanted(actor="bob"), Wanted(target="cell-2"), Wanted(act="keys.rotate"), Wanted(limit=2))
    assert [len(await audit.newest(each)) for each in wanted] == [1, 1, 0, 2]
    middle = newest[1].at
    assert [each.number for each in await audit.newest(Wanted(since=middle))] == [7, 5]
    assert [each.number for each in await audit.newest(Wanted(until=middle))] == [3, 1]


async def test_those_who_append_at_once_make_one_chain(control_database: TestDatabase, audit: Audit) -> None:
    await asyncio.gather(*(fill(audit, 20) for _ in range(8)))
    found = walked(control_database)
    assert found.is_intact, found.findings
    assert (found.rows, found.last) == (320, 320)


async def test_who_appends_and_rolls_back_leaves_no_gap(control_database: TestDatabase, audit: Audit) -> None:
    append = "select append_audit_v1('ann', 'operator', 'socket', 'cells.cordon', 'cell-1', null, '{}')"
    with psycopg.connect(control_database.leader_dsn) as first:
        first.execute(append)
        waiting = asyncio.create_task(fill(audit, 1))
        await asyncio.sleep(0)
        first.rollback()
    await waiting
    found = walked(control_database)
    assert (found.is_intact, found.rows) == (True, 2)


async def test_nobody_chooses_a_place_or_a_hash(control_database: TestDatabase, audit: Audit) -> None:
    await fill(audit, 1)
    with psycopg.connect(control_database.owner_dsn, autocommit=True) as owner:
        owner.execute(
            "insert into control.audit (number, at, subject, role, way, act, target, arguments, previous_hash, hash)"
            " values (99, '2001-01-01', 'x', 'x', 'x', 'x', 'x', '{}', sha256(''), sha256(''))"
        )
    found = walked(control_database)
    assert (found.is_intact, found.last) == (True, 3)
    for dsn in (control_database.leader_dsn, control_database.service_dsn, control_database.auditor_dsn):
        refused = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
        with psycopg.connect(dsn, autocommit=True) as connection, pytest.raises(refused):
            connection.execute("insert into control.audit (at) values (now())")


async def test_a_clock_that_is_put_back_puts_no_row_back(control_database: TestDatabase, audit: Audit) -> None:
    await fill(audit, 1)
    with psycopg.connect(control_database.leader_dsn, autocommit=True) as late:
        late.execute("select set_config('brokerage.clock_offset', '-2 hours', false)")
        late.execute("select append_audit_v1('ann', 'operator', 'socket', 'cells.cordon', 'cell-1', null, '{}')")
    found = walked(control_database)
    assert found.is_intact, found.findings
    rows = all_rows(control_database)
    assert rows[2].at == rows[1].at


TOUCHED: dict[str, tuple[Callable[[TestDatabase], object], list[tuple[int, Fault]]]] = {
    "edited": (
        lambda database: as_root(database, "update control.audit set reason = 'another' where number = 3"),
        [(3, Fault.EDITED)],
    ),
    "an outcome edited": (
        lambda database: as_root(database, "update control.audit set outcome = 'refused' where number = 4"),
        [(4, Fault.EDITED)],
    ),
    "deleted": (
        lambda database: as_root(database, "delete from control.audit where number = 3"), [(3, Fault.MISSING)],
    ),
    "two exchanged": (
        lambda database: as_root(
            database, "update control.audit a set target = b.target from control.audit b"
            " where (a.number, b.number) in ((1, 3), (3, 1))"
        ),
        [(1, Fault.EDITED), (3, Fault.EDITED)],
    ),
    "one rewritten": (lambda database: rewrite_one(database, 3, subject="bob"), [(4, Fault.NOT_CHAINED)]),
    "the tail rewritten, before any head": (lambda database: rewrite_tail(database, 3, subject="bob"), []),
}  # fmt: skip


@pytest.mark.parametrize("how", TOUCHED)
async def test_what_a_superuser_does_shows(control_database: TestDatabase, audit: Audit, how: str) -> None:
    await fill(audit, 4)
    touch, findings = TOUCHED[how]
    touch(control_database)
    assert [(each.number, each.fault) for each in walked(control_database).findings] == findings


async def test_a_tail_that_was_written_anew_shows_by_the_head_on_kafka(
    control_database: TestDatabase, audit: Audit, kafka_broker: KafkaBroker
) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers, topic_prefix="audited.")
    assert await read_heads(settings, "mine") == ({}, 0)
    topic = f"audited.{AUDIT_HEADS}"
    await ensure_topics(kafka_broker.bootstrap_servers, [topic], partitions=8, timeout_s=30, kept=[topic])
    await fill(audit, 2)
    for stack in ("mine", "mine", "another"):
        await publish_head(settings, stack, await audit.head())
    await fill(audit, 2)
    await publish_head(settings, "mine", await audit.head())
    published, gone = await read_heads(settings, "mine")
    assert (set(published), gone) == ({4, 8}, 0)
    assert [len(found) for found in published.values()] == [1, 1]
    whole = verify_rows(all_rows(control_database), published, lambda _: None)
    assert (whole.is_intact, whole.proven_by_heads) == (True, 8)

    rewrite_tail(control_database, 6, subject="bob")
    assert walked(control_database).is_intact, "the chain alone shows nothing"
    forged = verify_rows(all_rows(control_database), published, lambda _: None)
    [finding] = forged.findings
    assert (finding.number, finding.fault, forged.proven_by_heads) == (8, Fault.REWRITTEN, 4)
    assert f"{topic}/" in finding.detail

    as_root(control_database, "delete from control.audit where number > 6")
    assert walked(control_database).is_intact
    cut = verify_rows(all_rows(control_database), published, lambda _: None)
    assert [(each.number, each.fault) for each in cut.findings] == [(7, Fault.CUT_OFF)]


async def test_a_head_that_nobody_takes_is_said() -> None:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(NotReachable, match="did not take the head"):
        await publish_head(settings, "mine", Head(1, "ab" * 32, ""), within_s=0.3)


async def test_what_was_recorded_before_becomes_the_first_rows(control_database: TestDatabase) -> None:
    for statement in UNDO:
        as_root(control_database, statement)

    def act(*values: object) -> int:
        ((entry,),) = as_root(control_database, OLD_ACT, *values)
        return int(entry)

    first = act(None, "2026-01-01T10:00:00Z", "ann", "cordon_cell", "cell-1", "slow", '{"a": 1}', None, None)
    second = act(None, "2026-01-01T09:59:59Z", "bob", "stop_stack", "mine", None, "{}", None, None)
    act(first, "2026-01-01T10:00:01Z", None, None, None, None, None, "failed", "why")
    await migrate(control_database.owner_dsn, package="shardctl", phase=MigrationPhase.PRE)
    # An older release goes on recording while the rollout lasts.
    act(second, "2026-01-01T11:00:00Z", None, None, None, None, None, "done", None)
    act(None, "2026-01-01T12:00:00Z", "ann", "publish_map", "redis", "why", "{}", None, None)

    rows = all_rows(control_database)
    assert walked(control_database).is_intact
    assert [(row.subject, row.act, row.target, row.reason, row.ends, row.outcome) for row in rows] == [
        ("ann", "cordon_cell", "cell-1", "slow", None, None), ("bob", "stop_stack", "mine", None, None, None),
        (None, None, None, None, 1, "failed"), (None, None, None, None, 2, "done"),
        ("ann", "publish_map", "redis", "why", None, None),
    ]  # fmt: skip
    assert [row.at[:19] for row in rows[:2]] == ["2026-01-01T10:00:00"] * 2, "times never go back in the chain"
    assert {row.way for row in rows if row.ends is None} == {"privileged_acts"}
    assert as_root(control_database, "select count(*) from control.privileged_acts") == [(5,)]


async def test_an_operation_of_an_older_release_ends_in_the_chain(control_database: TestDatabase) -> None:
    ((entry,),) = as_root(
        control_database, OLD_ACT, None, "2026-01-01T10:00:00Z", "ann", "add_cell", "cell-3", None, "{}", None, None
    )
    ((number,),) = as_root(
        control_database,
        "insert into control.operations (kind, version, arguments, target, cells, users, calls, state, state_hash,"
        " actor, idempotency_key, act, act_id, created_at) values ('cells.add', 1, '{}', 'cell-3', '{}', '{}', '{}',"
        " 'running', repeat('0', 64), 'ann', 'k', 'add_cell', %s, now()) returning operation_id",
        entry,
    )
    as_root(control_database, "select enter_state_v1(%s, 'succeeded', 0, null)", number)
    rows = all_rows(control_database)
    assert [(row.ends, row.outcome, row.detail) for row in rows] == [
        (None, None, None), (1, "done", f"operation {number}"),
    ]  # fmt: skip
