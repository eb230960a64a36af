"""Archiving: nothing is lost or changed, customers see what they saw, reports of the past still meet what is known."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from cell.archive.queries import archive_step
from cell.archive.sweep import Archived, Place, archive
from cell.ledger.queries import list_entries
from cell.orders.queries import list_events, list_executions, list_orders
from cell.trial_balance import read_checks, run_trial_balance
from infra.runtime.database import Pool, make_pool
from infra.runtime.release_code import release_code
from infra.runtime.settings import PostgresSettings
from tests.integration.test_ledger_checks import CORRUPTIONS, fill_books, found_by
from tests.support.cell_books import MICROS, SYMBOLS, CellBooks, PlacedOrder
from tests.support.databases import Template, TestDatabase

pytestmark = pytest.mark.anyio

KINDS = ("order_events", "executions", "journal_entries", "postings")
# whole rows, whatever columns later migrations add
DIGESTS: dict[str, LiteralString] = {
    "order_events": "select count(*), md5(string_agg(x::text, '|' order by x::text)) from all_order_events x",
    "executions": "select count(*), md5(string_agg(x::text, '|' order by x::text)) from all_executions x",
    "journal_entries": "select count(*), md5(string_agg(x::text, '|' order by x::text)) from all_journal_entries x",
    "postings": "select count(*), md5(string_agg(x::text, '|' order by x::text)) from all_postings x",
}
LEFT: dict[str, LiteralString] = {
    "order_events": "select count(*) from brokerage.order_events",
    "executions": "select count(*) from brokerage.executions",
    "journal_entries": "select count(*) from brokerage.journal_entries",
    "postings": "select count(*) from brokerage.postings",
}


AHEAD_S = 9 * 86_400.0
"""What was written by now is old enough for the archive's own minimum then."""


def later() -> datetime:
    """Everything that was written by now is old then."""
    return datetime.now(UTC) + timedelta(days=1)


@dataclass
class Archive:
    """Books of a trading day, published, and a pool of the service role."""

    books: CellBooks
    pool: Pool
    archivist: Pool
    """The same, nine days later."""
    root: psycopg.AsyncConnection[Any]

    async def rows(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        return await (await self.root.execute(query, values)).fetchall()

    async def publish(self) -> None:
        await self.root.execute("delete from brokerage.outbox")

    async def archive(self, until_s: float | None = None) -> Archived:
        loop = asyncio.get_running_loop()
        return await archive(
            self.archivist, before=later(), place=Place(), until_s=until_s or loop.time() + 60, monotonic=loop.time
        )

    async def digests(self) -> dict[str, tuple[Any, ...]]:
        return {kind: (await self.rows(DIGESTS[kind]))[0] for kind in KINDS}

    async def left(self) -> dict[str, int]:
        return {kind: (await self.rows(LEFT[kind]))[0][0] for kind in KINDS}

    async def broken(self) -> dict[str, Any]:
        async with self.pool.connection() as connection:
            trial = await run_trial_balance(connection)
        return {check.name: check.sample for check in trial.checks if check.violations}


@pytest.fixture(scope="module")
async def played(cell_template: Template) -> AsyncIterator[tuple[Template, CellBooks]]:
    """A trading day and its books, published. Played once: every test has a copy."""
    with cell_template.clone() as database:
        database.rehearse("9 days")
        async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
            books = CellBooks(connection, seed=23)
            await books.open_users(16)
            await books.play(250)
        async with await psycopg.AsyncConnection.connect(database.superuser_dsn, autocommit=True) as root:
            await root.execute("delete from brokerage.outbox")
        yield dataclasses.replace(cell_template, name=database.name), books


@pytest.fixture
async def day(played: tuple[Template, CellBooks]) -> AsyncIterator[Archive]:
    template, books = played
    with template.clone() as database:
        async with (
            await psycopg.AsyncConnection.connect(database.superuser_dsn, autocommit=True) as root,
            make_pool(PostgresSettings(dsn=database.service_dsn), "test-archive") as pool,
            make_pool(PostgresSettings(dsn=database.service_dsn, clock_offset_s=AHEAD_S), "archivist") as archivist,
            pool.connection() as connection,
        ):
            yield Archive(books.on(connection), pool, archivist, root)


async def test_rows_move_unchanged_and_the_books_still_prove(day: Archive) -> None:
    before, left_before = await day.digests(), await day.left()
    done = await day.archive()
    assert done.place is None
    assert done.deferred == 0
    assert done.users == len(day.books.users)
    assert await day.digests() == before
    left = await day.left()
    assert {kind: left_before[kind] - left[kind] for kind in KINDS} == {
        "order_events": done.events,
        "executions": done.executions,
        "journal_entries": done.entries,
        "postings": done.postings,
    }
    assert done.entries > left["journal_entries"] > 0, "what is open stays"
    assert await day.broken() == {}
    open_rows = """
    select count(*) from brokerage.orders o
     where o.is_open and (o.archived_month is not null
        or exists (select from archive.order_events e where e.user_id = o.user_id and e.order_id = o.order_id)
        or exists (select from archive.journal_entries e where e.user_id = o.user_id and e.order_id = o.order_id))
    """
    assert await day.rows(open_rows) == [(0,)]
    again = await day.archive()
    assert (again.entries, again.events, again.executions) == (0, 0, 0)


async def test_rows_go_to_the_partition_of_their_month(day: Archive) -> None:
    await day.archive()
    month = f"{datetime.now(UTC):%Y_%m}"
    for kind in KINDS:
        counted = await day.rows(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid "
            "where i.inhparent = %s::regclass",
            f"archive.{kind}",
        )
        assert counted == [(f"{kind}_{month}",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await day.books.connection.execute("select count(*) from archive.postings")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await day.books.connection.execute("select ensure_archive_month_v1('2030-01-01')")


async def test_a_column_that_is_added_to_a_table_is_added_to_its_archive(day: Archive) -> None:
    columns = (
        "select column_name, data_type from information_schema.columns where table_schema = %s and table_name = %s"
    )
    for kind in KINDS:
        hot = set(await day.rows(columns, "brokerage", kind))
        assert set(await day.rows(columns, "archive", kind)) == hot | {("month", "date")}
        assert set(await day.rows(columns, release_code("cell").schema, f"all_{kind}")) == hot


async def seen(day: Archive) -> list[Any]:
    """Everything that customers can page through, in small pages and both ways."""
    found: list[Any] = []
    for user_id in day.books.users[:6]:
        terms: dict[str, Any] = dict.fromkeys(("statuses", "symbol", "side", "since", "until", "after_id"))
        orders = await list_orders(day.pool, user_id, **terms, descending=True, limit=500)
        found.append(orders)
        for descending in (True, False):
            after: int | None = None
            while page := await list_entries(day.pool, user_id, after=after, descending=descending, limit=7):
                found.append(page)
                after = page[-1]["seq"]
            for order in orders:
                which: dict[str, Any] = {"after": None, "descending": descending, "limit": 5}
                found.append(await list_events(day.pool, user_id, order["order_id"], **which))
                found.append(await list_executions(day.pool, user_id, order["order_id"], **which))
    return found


async def test_customers_see_what_they_saw(day: Archive) -> None:
    before = await seen(day)
    await day.archive()
    assert await seen(day) == before


async def test_a_walk_stops_anywhere_and_goes_on(day: Archive) -> None:
    """No time at all: one step per call."""
    before, place, calls, entries = await day.digests(), Place(), 0, 0
    while True:
        done = await archive(day.archivist, before=later(), place=place, until_s=0.0, monotonic=lambda: 1.0)
        calls, entries = calls + 1, entries + done.entries
        if done.place is None:
            break
        assert done.place != place
        place = done.place
    assert calls > len(day.books.users)
    assert entries > 300
    assert await day.digests() == before
    assert await day.broken() == {}


async def test_what_is_young_stays(day: Archive) -> None:
    loop = asyncio.get_running_loop()
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    done = await archive(day.archivist, before=hour_ago, place=Place(), until_s=loop.time() + 60, monotonic=loop.time)
    assert (done.place, done.entries, done.events) == (None, 0, 0)


async def test_a_user_whom_another_writer_has_is_deferred(day: Archive) -> None:
    held, halted, *_ = day.books.users
    lease: LiteralString = """
    update brokerage.users set owner_state = 'halted', lease_ends_at = now() + interval '30 days'
     where user_id = %s returning 1
    """
    await day.rows(lease, halted)  # longer than the archivist's clock is ahead
    async with day.root.transaction():
        await day.rows("select 1 from brokerage.users where user_id = %s for no key update", held)
        done = await day.archive()
    assert (done.deferred, done.users) == (2, len(day.books.users) - 2)
    archived = "select distinct user_id from archive.journal_entries where user_id = any (%s)"
    assert await day.rows(archived, [held, halted]) == []
    assert (await archive_step(day.archivist, uuid.uuid4(), before=later(), after_seq=0, limit=10)).state == "deferred"


async def test_nothing_moves_before_it_is_published(day: Archive) -> None:
    """The relay reads events and entries from where they were written."""
    user_id = day.books.users[0]
    await day.books.place([day.books.random_order(user_id)])
    done = await day.archive()
    assert (done.unpublished, done.users) == (True, len(day.books.users) - 1), "the others need not wait for it"
    archived = "select count(*) from archive.journal_entries where user_id = %s"
    assert await day.rows(archived, user_id) == [(0,)]
    await day.publish()
    assert (await day.archive()).users == 1
    assert await day.rows(archived, user_id) > [(0,)]


async def ended_order(day: Archive, *, part: bool) -> PlacedOrder:
    """A buy that filled, in whole or, and then cancelled, in part; archived."""
    books = day.books
    order = PlacedOrder(books.users[3], books.new_id(), "AAPL", "buy", SYMBOLS["AAPL"], 10 * MICROS)
    assert await books.place([order]) == ["accepted"]
    await books.route()
    assert await books.tell([books.fill(order, 4 * MICROS)]) == ["applied"]
    if part:
        assert await books.tell([books.report("cancelled", order)]) == ["applied"]
    else:
        assert await books.tell([books.fill(order)]) == ["applied"]
    await day.publish()
    await day.archive()
    month = "select archived_month from brokerage.orders where order_id = %s"
    assert (await day.rows(month, order.order_id))[0][0] is not None
    return order


@pytest.mark.parametrize("part", [True, False])
async def test_the_same_fill_told_again_after_years_posts_nothing(day: Archive, part: bool) -> None:
    order = await ended_order(day, part=part)
    [(qty, px, exec_id)] = await day.rows(
        "select last_qty_micros, last_px_micros, exec_id from archive.executions where order_id = %s "
        "order by entry_seq limit 1",
        order.order_id,
    )
    before = await day.digests()
    again = day.books.report("fill", order, exec_id=exec_id, last_qty=qty, last_px=px)
    other = day.books.report("fill", order, exec_id=exec_id, last_qty=qty, last_px=px + 10_000)
    assert await day.books.tell([again]) == ["duplicate"]
    assert await day.books.tell([other]) == ["quarantined"]
    assert await day.digests() == before
    assert await day.broken() == {}


async def test_a_bust_and_a_late_fill_of_an_archived_order_post(day: Archive) -> None:
    order = await ended_order(day, part=True)
    assert await day.books.tell([day.books.revise(order, "bust")]) == ["applied"]
    assert await day.broken() == {}
    assert await day.rows(
        "select cum_qty_micros, archived_month from brokerage.orders where order_id = %s", order.order_id
    ) == [(0, None)]
    await day.publish()
    await day.archive()
    executions = "select count(*), bool_and(kind is not null) from archive.executions where order_id = %s"
    assert await day.rows(executions, order.order_id) == [(2, True)], "it went back with the bust"
    assert await day.books.tell([day.books.fill(order, MICROS)]) == ["applied"]
    assert await day.broken() == {}


async def test_a_fill_beyond_an_archived_order_waits_for_its_bust_there(day: Archive) -> None:
    order = await ended_order(day, part=False)
    bust, beyond = day.books.revise(order, "bust"), day.books.fill(order, 5 * MICROS)
    assert await day.books.tell([beyond, beyond]) == ["early", "early"]
    await day.publish()
    await day.archive()
    assert await day.broken() == {}
    assert await day.books.tell([bust]) == ["applied"]
    query = "select status, cum_qty_micros from brokerage.orders where order_id = %s"
    assert await day.rows(query, order.order_id) == [("cancelled", 4 * MICROS + 5 * MICROS)]
    assert await day.rows("select count(*) from brokerage.early_reports") == [(0,)]
    assert await day.broken() == {}


async def test_a_superseded_fill_comes_back_as_it_went(day: Archive) -> None:
    books = day.books
    order = PlacedOrder(books.users[3], books.new_id(), "AAPL", "sell", SYMBOLS["AAPL"], 10 * MICROS)
    assert await books.place([order]) == ["accepted"]
    await books.route()
    fill = books.fill(order, 6 * MICROS)
    correction = books.revise(order, "correct", last_qty=5 * MICROS, last_px=SYMBOLS["AAPL"])
    order.last_exec_id = str(correction["exec_id"])
    bust, beside = books.revise(order, "bust"), books.fill(order, 5 * MICROS)
    assert await books.tell([beside]) == ["applied"]
    assert await books.tell([fill, correction]) == ["applied", "applied"]
    await day.publish()
    before = await day.digests()
    await day.archive()
    assert await day.digests() == before
    assert await day.broken() == {}
    assert await books.tell([fill, correction, beside]) == ["duplicate"] * 3
    assert await books.tell([fill | {"last_qty": 5 * MICROS}]) == ["quarantined"]
    assert await books.tell([bust]) == ["applied"]
    query = "select status, cum_qty_micros from brokerage.orders where order_id = %s"
    assert await day.rows(query, order.order_id) == [("cancelled", 5 * MICROS)]
    assert await day.broken() == {}


CORRUPTIONS_OF_THE_ARCHIVE = (
    "changed amount",
    "deleted posting",
    "deleted entry and its postings",
    "entry dated back",
    "chain link replaced",
    "missing fill event",
    "fill reported at another price",
    "deleted execution",
    "execution at another price",
    "bust forgotten",
    "a later step dated back",
    "release dated back",
    "execution recorded before the one before it",
)


async def test_a_corruption_of_the_archive_is_found_by_name(cell_database: TestDatabase) -> None:
    await fill_books(cell_database, 200)
    cell_database.rehearse("9 days")
    loop = asyncio.get_running_loop()
    missed = {}
    async with (
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as root,
        make_pool(PostgresSettings(dsn=cell_database.service_dsn, clock_offset_s=AHEAD_S), "archivist") as pool,
    ):
        await root.execute("delete from brokerage.outbox")
        await archive(pool, before=later(), place=Place(), until_s=loop.time() + 60, monotonic=loop.time)
        await root.execute(
            "select set_config('search_path', 'archive, brokerage, ' || current_setting('search_path'), false)"
        )
        for corruption in CORRUPTIONS:
            if corruption.name in CORRUPTIONS_OF_THE_ARCHIVE:
                found = await found_by(root, corruption)
                if not set(corruption.found_by) <= found:
                    missed[corruption.name] = sorted(set(corruption.found_by) - found)
        twice: LiteralString = """
            insert into brokerage.postings select user_id, entry_seq, line, account, unit, direction, amount_micros
              from archive.postings
             where (user_id, entry_seq) = (select user_id, entry_seq from archive.postings limit 1)
        """
        async with root.transaction(force_rollback=True):
            await root.execute(twice)
            red = {check.name for check in read_checks() if await (await root.execute(check.text)).fetchone()}
        assert red >= {"entries_have_postings.sql", "chain_verifies.sql"}, "a row in both places"
    assert missed == {}
    assert {corruption.name for corruption in CORRUPTIONS} >= set(CORRUPTIONS_OF_THE_ARCHIVE)
