"""A restored cell is fenced in its database: whatever the service role calls is refused, until a person opens it."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cell.incarnations.queries import FENCE
from cell.leadership import Task, leading
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio
LOST = UUID("00000000-0000-4000-8000-00000000000a")
KEPT = UUID("00000000-0000-4000-8000-00000000000b")
OPEN = "select outcome, figures from open_cell_v1(%s, %s, %s, 'exchange', 'cell-1', %s, %s)"
ACCOUNT = """
insert into brokerage.users (user_id, owner_state, epoch, profile, created_at, recorded_at)
values (%s, 'active', 1, 'retail', now(), now())
"""


def fence(database: TestDatabase, *, restored_to: datetime | None = None) -> UUID:
    incarnation = uuid4()
    with psycopg.connect(database.owner_dsn) as owner:
        owner.execute(FENCE, [incarnation, "cell-1-x", restored_to, "me", "drill"])
    return incarnation


def reconcile(database: TestDatabase, verdict: str) -> UUID:
    run = uuid4()
    with psycopg.connect(database.service_dsn) as service:
        found = Jsonb([])
        service.execute(
            "select record_reconciliation_v1(%s, clock_timestamp(), clock_timestamp(), clock_timestamp(),"
            " 'me', %s, %s, %s, %s, %s)",
            [run, verdict, found, found, Jsonb({}), Jsonb({})],
        )
    return run


def open_cell(database: TestDatabase, *, despite: bool = False, halted: list[UUID] | None = None) -> str:
    with psycopg.connect(database.service_dsn) as service:
        row = service.execute(OPEN, ["me", "looked at", despite, 7, halted or []]).fetchone()
    assert row is not None
    return str(row[0])


TABLES = """
select n.nspname || '.' || c.relname, exists (
       select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'cell_is_fenced' and t.tgenabled = 'O')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('brokerage', 'archive') and c.relkind in ('r', 'p')
"""


def guarded(database: TestDatabase) -> dict[str, bool]:
    with psycopg.connect(database.owner_dsn) as owner:
        return dict(owner.execute(TABLES).fetchall())


def test_every_table_of_the_books_is_behind_the_fence(cell_database: TestDatabase) -> None:
    assert not any(guarded(cell_database).values()), "it costs an open cell nothing"
    fence(cell_database)
    fence_of = guarded(cell_database)
    proofs = ("incarnations", "reconciliations", "ledger_checks", "privileged_acts", "control_leader")
    open_ones = {f"brokerage.{table}" for table in proofs}
    assert {table for table, is_guarded in fence_of.items() if not is_guarded} == open_ones
    assert len(fence_of) > 30


def test_the_service_writes_nothing_and_the_owner_migrates(cell_database: TestDatabase) -> None:
    fence(cell_database)
    with psycopg.connect(cell_database.owner_dsn) as owner:
        owner.execute(ACCOUNT, [KEPT])
    with psycopg.connect(cell_database.service_dsn) as service, pytest.raises(psycopg.DatabaseError) as refused:
        service.execute("select prune_idempotency_keys_v1(now(), 10)")
    assert refused.value.sqlstate == "RB041"
    with psycopg.connect(cell_database.service_dsn) as service:
        row = service.execute("select count(*) from brokerage.users").fetchone()
        assert row == (1,), "reads go on"


async def test_nobody_leads_a_fenced_cell_or_another_incarnation(cell_database: TestDatabase) -> None:
    async def leads(incarnation: str) -> bool:
        connection = await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True)
        async with connection, leading(connection, Task.WORKER, incarnation=incarnation) as is_leader:
            return is_leader

    assert await leads("")
    assert not await leads(str(uuid4())), "the marker outside names a restore that this database does not know"
    incarnation = str(fence(cell_database))
    assert not await leads(incarnation)
    reconcile(cell_database, "equal")
    assert open_cell(cell_database) == "opened"
    assert await leads(incarnation)
    assert not await leads(""), "a copy of another database lies where this one belongs"


def test_it_opens_after_a_reconciliation_that_found_nothing_or_was_looked_at(cell_database: TestDatabase) -> None:
    reconcile(cell_database, "equal")  # before the restore: counts for nothing
    fence(cell_database)
    assert open_cell(cell_database, despite=True) == "NOT_RECONCILED"
    reconcile(cell_database, "incomplete")
    assert open_cell(cell_database, despite=True) == "NOT_RECONCILED"
    reconcile(cell_database, "different")
    assert open_cell(cell_database) == "FINDINGS"
    assert open_cell(cell_database, despite=True) == "opened"
    assert open_cell(cell_database, despite=True) == "ALREADY"
    assert not any(guarded(cell_database).values())


def test_whom_others_know_more_of_stays_read_only_and_the_session_goes_on(cell_database: TestDatabase) -> None:
    for user in (LOST, KEPT):
        with psycopg.connect(cell_database.owner_dsn) as owner:
            owner.execute(ACCOUNT, [user])
    incarnation = fence(cell_database)
    reconcile(cell_database, "different")
    assert open_cell(cell_database, despite=True, halted=[LOST, uuid4()]) == "opened"
    with psycopg.connect(cell_database.owner_dsn) as owner:
        rows = owner.execute(
            "select user_id, owner_state, halt_id, ownership_v1(owner_state, lease_ends_at)"
            "  from brokerage.users order by user_id"
        ).fetchall()
        assert rows == [(LOST, "halted", incarnation, "USER_HALTED"), (KEPT, "active", None, None)]
        assert owner.execute("select received_seq from brokerage.venue_sessions").fetchall() == [(7,)]
        opened = owner.execute("select opened_by, opened_reason, despite, users_halted from brokerage.incarnations")
        assert opened.fetchall() == [("me", "looked at", True, 1)]
        assert owner.execute("select act, reason from brokerage.privileged_acts").fetchall() == [
            ("open_cell", "looked at")
        ]


def test_a_session_that_is_further_is_not_put_back(cell_database: TestDatabase) -> None:
    with psycopg.connect(cell_database.owner_dsn) as owner:
        owner.execute("insert into brokerage.venue_sessions values ('exchange', 'cell-1', 9)")
    fence(cell_database)
    reconcile(cell_database, "equal")
    assert open_cell(cell_database) == "opened"
    with psycopg.connect(cell_database.owner_dsn) as owner:
        assert owner.execute("select received_seq from brokerage.venue_sessions").fetchall() == [(9,)]


def test_a_fenced_copy_that_is_restored_again_is_fenced_once(cell_database: TestDatabase) -> None:
    first = fence(cell_database, restored_to=datetime(2026, 1, 2, tzinfo=UTC))
    second = fence(cell_database)
    with psycopg.connect(cell_database.owner_dsn) as owner:
        rows = owner.execute("select incarnation_id from brokerage.incarnations where opened_at is null").fetchall()
    assert rows == [(second,)]
    assert first != second


def test_only_the_owner_fences(cell_database: TestDatabase) -> None:
    with (
        psycopg.connect(cell_database.service_dsn) as service,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        service.execute(FENCE, [uuid4(), "x", None, "me", "drill"])
