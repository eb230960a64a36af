"""A database whose histories were recorded by several processes' clocks, brought to where the database's clock records.

What ran backwards stays as it is and is not judged; nobody's next time precedes what they have.
"""

import uuid
from typing import Any, LiteralString

import psycopg
import pytest

from infra.runtime.migrator import MigrationPhase, migrate
from infra.runtime.sql_files import read_sql
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio

BEFORE: LiteralString = """
alter table brokerage.users drop column recorded_at, drop column recorded_since;
alter table brokerage.executions drop column recorded_at cascade;
alter table archive.executions drop column recorded_at;
set role cell_owner;
create view brokerage.all_order_events as select * from all_order_events;
create view brokerage.all_journal_entries as select * from all_journal_entries;
reset role;
delete from migrations.applied where number in (14, 15, 50);
"""
# As a worker did whose clock was behind: orders are routed before they are accepted, if one believes their times.
RUNS_BACK: LiteralString = """
update brokerage.order_events set at = at - interval '69 ms' where reason = 'sent to the venue';
update brokerage.outbox b set occurred_at = e.at
  from brokerage.order_events e where e.user_id = b.user_id and e.order_id = b.order_id and e.seq = b.order_event_seq;
"""
AHEAD: LiteralString = "update brokerage.orders set updated_at = now() + interval '1 hour' where order_id = %s"
BACK_AGAIN: LiteralString = """
update brokerage.order_events set at = at - interval '2 hours' where order_id = %s and seq = 4
"""


def check(root: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    found = {item.name: root.execute(item.text).fetchall() for item in read_sql("cell", "checks")}
    return {name: rows for name, rows in found.items() if rows}


async def test_an_upgraded_history_is_healthy_and_goes_on_after_all_it_has(cell_database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection, seed=3)
        await books.open_users(4)
        await books.play(30)
        orders = list(books.orders.values())
        with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
            for statement in (BEFORE, RUNS_BACK):
                root.execute(statement)
            [(ahead, newest)] = root.execute(AHEAD + " returning user_id, updated_at", [orders[0].order_id]).fetchall()
            number = books.users.index(ahead)
            before = await migrate(cell_database.owner_dsn, package="cell", phase=MigrationPhase.PRE)
            assert before.migrations == ("0014_pre_recorded_time.sql",)
            assert check(root) == {}
            first = await place(books)
            after = await migrate(cell_database.owner_dsn, package="cell")
            assert after.migrations == ("0015_post_recorded_time.sql", "0050_post_code_of_releases.sql")
            assert check(root) == {}
            second = await place(books)
            rows = root.execute(
                "select user_id, order_id, created_at from brokerage.orders order by order_id"
            ).fetchall()
            for user_id, *placed in zip(books.users, first, second, strict=True):
                assert [row[1] for row in rows if row[0] == user_id][-2:] == placed, "after all that was there"
            assert min(row[2] for row in rows if row[1] in (first[number], second[number])) > newest, "of one clock too"
            assert check(root) == {}
            await books.route()
            root.execute(BACK_AGAIN, [second[0]])
            assert set(check(root)) >= {"times_never_go_back.sql"}, "what is recorded now is judged"


async def place(books: CellBooks) -> list[uuid.UUID]:
    """An order of everybody, in the order of users."""
    orders = [PlacedOrder(user, books.new_id(), "AAPL", "buy", 228_000_000, MICROS) for user in books.users]
    assert await books.place(orders) == ["accepted"] * len(orders)
    return [order.order_id for order in orders]
