"""What a page of orders costs: blocks touched, not time. The same among any number of other orders."""

import uuid
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from cell.ledger.queries import _DESCENDING as _LEDGER_DESCENDING
from cell.orders import queries
from tests.support.databases import TestDatabase

BLOCKS_MAX = 40
"""A page of ten: index levels, and at worst a block per order."""

_FILL: LiteralString = """
insert into brokerage.orders (user_id, order_id, symbol, side, type, time_in_force, order_qty_micros, limit_px_micros,
                              hold_px_micros, status, event_seq, write_seq, created_at, updated_at)
select %(user_id)s, (lpad(to_hex(n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid, 'AAPL', 'buy', 'limit',
       'gtc', 1000000, 1000000, 1000000, %(status)s, 5, n, now(), now()
  from generate_series(%(first)s::int, %(last)s::int) n
"""


@pytest.fixture
def root(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        yield connection


def fill(root: psycopg.Connection[Any], user_id: uuid.UUID, status: str, first: int, last: int) -> None:
    root.execute(_FILL, {"user_id": user_id, "status": status, "first": first, "last": last})


def page(
    root: psycopg.Connection[Any], user_id: uuid.UUID, sql: LiteralString, statuses: list[str] | None
) -> tuple[int, int]:
    """Rows of a page of ten, and blocks that were touched for it, planned as the cell's connections plan it."""
    parameters: dict[str, Any] = dict.fromkeys(("after_id", "symbol", "side", "since", "until"))
    parameters |= {"user_id": user_id, "statuses": statuses, "limit": 10}
    for plan_cache_mode in ("force_custom_plan", "force_generic_plan"):
        root.execute(f"set plan_cache_mode = {plan_cache_mode}")
        explained = root.execute(
            b"explain (analyze, buffers, format json) " + sql.encode(),
            parameters, prepare=True,
        ).fetchone()  # fmt: skip
        assert explained is not None
        plan = explained[0][0]["Plan"]
        blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert blocks <= BLOCKS_MAX, (plan_cache_mode, plan)
    return plan["Actual Rows"], blocks


@pytest.mark.parametrize("sql", [queries._OPEN_DESCENDING, queries._OPEN_ASCENDING], ids=["descending", "ascending"])
def test_open_orders_cost_the_same_among_any_number_of_closed_ones(
    root: psycopg.Connection[Any], sql: LiteralString
) -> None:
    user_id = uuid.uuid4()
    fill(root, user_id, "routed", 1, 3)
    fill(root, user_id, "filled", 100, 12_000)
    fill(root, user_id, "armed", 20_000, 20_001)
    root.execute("analyze brokerage.orders")
    assert page(root, user_id, sql, ["routed", "armed"])[0] == 5
    assert page(root, user_id, sql, ["queued"])[0] == 0


def test_a_page_costs_the_same_among_any_number_of_other_customers_orders(root: psycopg.Connection[Any]) -> None:
    user_id = uuid.uuid4()
    fill(root, user_id, "filled", 1, 200)
    alone = page(root, user_id, queries._LIST_DESCENDING, None)
    for _ in range(30):
        fill(root, uuid.uuid4(), "filled", 1, 1_000)
    root.execute("analyze brokerage.orders")
    among_many = page(root, user_id, queries._LIST_DESCENDING, None)
    assert alone[0] == among_many[0] == 10
    assert among_many[1] <= alone[1] + 3, "another level of the index, no more"


_ENTRIES: LiteralString = """
with written as (
    insert into brokerage.journal_entries (user_id, seq, entry_id, kind, occurred_at, previous_hash, hash)
    select %(user_id)s, n, gen_random_uuid(), 'deposit', now(), '', ''
      from generate_series(%(first)s::int, %(last)s::int) n
)
insert into brokerage.postings select %(user_id)s, n, line, account, 'USD', direction, 1
  from generate_series(%(first)s::int, %(last)s::int) n,
       (values (1, 'bank', 'debit'), (2, 'cash', 'credit')) v (line, account, direction)
"""
_ARCHIVE: LiteralString = """
with gone as (delete from brokerage.journal_entries where seq %% 3 = %(third)s returning *),
     lines as (delete from brokerage.postings where entry_seq %% 3 = %(third)s returning *),
     kept as (insert into archive.journal_entries select *, %(month)s::date from gone)
insert into archive.postings select *, %(month)s::date from lines
"""


def test_a_page_of_the_ledger_costs_the_same_however_long_it_is_and_wherever_it_lies(
    root: psycopg.Connection[Any],
) -> None:
    """A third of the entries is hot, the others lie in two months of the archive, one beside the other."""
    costs = []
    for first, last in ((1, 300), (301, 6_000)):
        user_id = uuid.UUID(int=1)
        root.execute(_ENTRIES, {"user_id": user_id, "first": first, "last": last})
        for third, month in ((0, "2026-01-01"), (1, "2026-02-01")):
            root.execute("select ensure_archive_month_v1(%s)", [month])
            root.execute(_ARCHIVE, {"third": third, "month": month})
        root.execute("analyze")
        explained = root.execute(
            b"explain (analyze, buffers, format json) " + _LEDGER_DESCENDING.encode(), [user_id, None, None, 10]
        ).fetchone()
        assert explained is not None
        plan = explained[0][0]["Plan"]
        assert plan["Actual Rows"] == 10
        costs.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    assert costs[1] <= costs[0] + 80, "another level of each index that is asked, no more"


def test_an_order_keeps_its_place_on_the_page_until_it_ends(root: psycopg.Connection[Any]) -> None:
    """Steps of an open order stay updates within its block (HOT); only its end writes to the indexes."""
    user_id = uuid.uuid4()
    fill(root, user_id, "funds_held", 1, 50)
    for status in ("routed", "partially_filled", "pending_cancel"):
        root.execute("update brokerage.orders set status = %s, event_seq = event_seq + 1", [status])
    root.execute("select pg_stat_force_next_flush()")
    row = root.execute("select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'orders'").fetchone()
    assert row is not None
    updated, hot = row
    assert updated == 150
    assert hot >= 75, "with a full block now and then"
    root.execute("update brokerage.orders set status = 'cancelled'")
    assert root.execute("select count(*) from brokerage.orders where is_open").fetchone() == (0,)
