"""A restored cell is fenced in its database: whatever the service role calls is refused, until a person opens it."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from cell.incarnations.compare import CopyComparison, compare_copy, compare_page
from cell.incarnations.queries import FENCE, entry_hashes, halted_users, user_figures, youngest_user
from cell.leadership import Task, leading
from cell.reconciliation.queries import list_event_heads
from cell.trial_balance import run_trial_balance
from infra.runtime.database import make_pool
from infra.runtime.settings import PostgresSettings
from tests.support.cell_books import CellBooks
from tests.support.databases import Template, TestDatabase
from tests.support.decisions import fence, reconcile

pytestmark = pytest.mark.anyio
LOST = UUID("00000000-0000-4000-8000-00000000000a")
KEPT = UUID("00000000-0000-4000-8000-00000000000b")
OPEN = "select outcome, figures from open_cell_v1(%s, %s, %s, 'exchange', 'cell-1', %s, %s)"
ACCOUNT = """
insert into brokerage.users (user_id, owner_state, epoch, profile, created_at, recorded_at)
values (%s, 'active', 1, 'retail', now(), now())
"""


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


RELEASE = "select release_restored_user_v1('me', 'looked at', %s, %s, %s, %s)"


def release(database: TestDatabase, user: UUID, orders: int = 0, ledger: int = 0, write_seq: int = 0) -> str:
    with psycopg.connect(database.service_dsn) as service:
        row = service.execute(RELEASE, [user, orders, ledger, write_seq]).fetchone()
    assert row is not None
    return str(row[0])


async def test_who_is_released_goes_on_behind_what_is_lost(cell_database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection)
        await books.open_users(2)
        held, other = books.users
        with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
            root.execute("delete from brokerage.outbox")
            heads = "select order_event_seq, entry_seq, write_seq from brokerage.users where user_id = %s"
            [(orders, ledger, writes)] = root.execute(heads, [held]).fetchall()
            fence(cell_database)
            reconcile(cell_database, "different")
            assert release(cell_database, held) == "FENCED"
            assert open_cell(cell_database, despite=True, halted=[held]) == "opened"
            assert release(cell_database, other) == "NOT_HELD"
            assert release(cell_database, held, orders + 3, ledger + 2, writes + 40) == "released"
            assert release(cell_database, held, orders + 3, ledger + 2) == "NOT_HELD", "repeated, it does nothing"
            assert root.execute(heads, [held]).fetchall() == [(orders + 3, ledger + 2, writes + 41)]
            await books.deposit([held], 1_000_000)
            kept = "select seq from brokerage.journal_entries where user_id = %s order by seq desc limit 2"
            assert root.execute(kept, [held]).fetchall() == [(ledger + 3,), (ledger,)]
            [(details,)] = root.execute("select details from brokerage.privileged_acts order by act_id desc limit 1")
            assert (details["orders"], details["ledger"]) == (
                [orders + 1, orders + 3],
                [ledger + 1, ledger + 2],
            )
        assert {check.name for check in (await run_trial_balance(connection)).checks if check.violations} == set()
        async with make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test", size=1) as pool:
            rows = {row["user_id"]: row for row in await list_event_heads(pool, after=None, limit=10)}
            assert await halted_users(pool, after=None, limit=10) == []
        assert rows[other]["lost"] is None
        assert rows[held]["lost"] == [["ledger", ledger + 1, ledger + 2], ["orders", orders + 1, orders + 3]]
        assert rows[held]["ledger_published"] == ledger + 2, "what is lost is published, and the deposit waits"
        assert rows[held]["published_chain_head"] is not None, "of the last entry that the books have"


async def test_a_number_that_was_lost_and_is_given_again_is_found(cell_database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection)
        await books.open_users(1)
        [user] = books.users
        with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
            root.execute(
                "insert into brokerage.privileged_acts (at, actor, act, user_id, reason, details)"
                " values (now(), 'me', 'release_restored_user', %s, 'no', '{\"ledger\": [1, 1]}')",
                [user],
            )
        broken = {check.name for check in (await run_trial_balance(connection)).checks if check.violations}
        assert broken == {"sequences_have_no_gaps"}


async def test_events_that_wait_keep_a_user_from_being_released(cell_database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection)
        await books.open_users(1)
        fence(cell_database)
        reconcile(cell_database, "different")
        assert open_cell(cell_database, despite=True, halted=books.users) == "opened"
        assert release(cell_database, books.users[0]) == "UNPUBLISHED"


async def test_a_copy_is_compared_with_its_source(cell_database: TestDatabase, cell_template: Template) -> None:
    """Two databases stand for cell and copy: equal, then traded on, then with one row that is not what it was."""
    with cell_template.clone() as other:
        async with (
            await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection,
            make_pool(PostgresSettings(dsn=cell_database.service_dsn), "copy", size=1) as copy,
        ):
            books = CellBooks(connection)
            await books.open_users(3)
            await books.play(10)
            found = await compare_copy(copy, copy)
            assert (found.users, found.equal, found.differences) == (3, 3, 0)
            assert found.totals["orders"] > 0
            async with make_pool(PostgresSettings(dsn=other.service_dsn), "source", size=1) as source:
                lacking = await compare_copy(copy, source)
                assert [each["what"] for each in lacking.sample] == ["not in the source"] * 3
            figures = await user_figures(copy, after=None, until=None, limit=10)
            hashes = await entry_hashes(copy, {row["user_id"]: row["entry_seq"] for row in figures})
            assert hashes == {row["user_id"]: row["chain_head"] for row in figures}
            assert await youngest_user(copy) == max(row["created_at"] for row in figures)
            with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
                root.execute("update brokerage.positions set cost_basis_micros = cost_basis_micros + 1")
            changed = CopyComparison()
            compare_page(changed, figures, await user_figures(copy, after=None, until=None, limit=10), hashes, None)
            assert changed.differences == 3
            assert "digests" in changed.sample[0]["what"]
