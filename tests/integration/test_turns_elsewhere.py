"""Where few of many are taken, in turn or not: what one user has, or who holds that user, is in nobody else's way."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cell.outbox.claim import claim_batch
from infra.runtime.database import make_pool
from infra.runtime.settings import PostgresSettings
from tests.support.bare_cell import Cell
from tests.support.databases import TestDatabase

CASH = 10**15
BACKLOG = 300
NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
CLOSE = NOON + timedelta(hours=4)
PLACE = """
select outcome, resource_id
  from place_orders_v1(array[%s], array[%s], array['f'::bytea], array[null::text], array['AAPL'],
                                 array['buy'], array[%s], array['day'], array[1000000::bigint], array[null::bigint], %s,
                                 interval '100 years', p_stop_pxs => array[%s::bigint], p_market_hours => %s)
"""


@contextmanager
def locked(database: TestDatabase, *users: uuid.UUID) -> Iterator[None]:
    with psycopg.connect(database.superuser_dsn) as other:
        other.execute("select from brokerage.users where user_id = any (%s) for no key update", [list(users)])
        yield
        other.rollback()


def place(
    cell: Cell, user: uuid.UUID, *, at: datetime = NOON, stop: int | None = None, hours: str = "always"
) -> uuid.UUID:
    kind = "market" if stop is None else "stop"
    (row,) = cell.call(PLACE, user, uuid.uuid4().hex, kind, at, stop, hours)
    assert row[0] == "accepted", row
    assert isinstance(row[1], uuid.UUID)
    return row[1]


@pytest.fixture
def session(cell: Cell, cell_database: TestDatabase) -> Cell:
    """A market with one day."""
    with psycopg.connect(cell_database.owner_dsn, autocommit=True) as owner:
        write = "select set_market_sessions_v1(array[%s::date], array[%s], array[%s], %s)"
        opens = NOON - timedelta(hours=3)
        owner.execute(write, [NOON.date(), opens, CLOSE, opens - timedelta(days=1)])
    return cell


def test_touched_stops_of_a_locked_user_do_not_hide_the_neighbours(cell: Cell, cell_database: TestDatabase) -> None:
    greedy, neighbour = cell.user(CASH), cell.user(CASH)
    many = [place(cell, greedy, stop=105_000_000) for _ in range(BACKLOG)]
    one = place(cell, neighbour, stop=105_000_000)
    cell.call("select set_reference_prices_v1(array['AAPL'], array[106000000], now())")
    trigger = "select triggered, passed_over, next_after from trigger_reached_stops_v1(256, %s, 'always', %s::uuid)"
    status = "select order_id from brokerage.orders where status = 'funds_held'"
    assert cell.call("select judge_stops_v1(1000)") == [(BACKLOG + 1,)]
    with locked(cell_database, greedy):
        ((triggered, passed_over, after),) = cell.call(trigger, NOON, None)
        assert (triggered, passed_over) == (1, 1)
        assert cell.call(status) == [(one,)]
        assert cell.call(trigger, NOON, after)[0][:2] == (0, 1)
    while (done := cell.call(trigger, NOON, after)[0])[0]:
        assert done[0] <= 32, "a few of one user, so that a neighbour who comes now waits for no more"
        after = done[2]
    assert {row[0] for row in cell.call(status)} == {one, *many}


def test_queued_orders_of_a_locked_user_do_not_hide_the_neighbours_at_the_open(
    session: Cell, cell_database: TestDatabase
) -> None:
    cell = session
    greedy, neighbour = cell.user(CASH), cell.user(CASH)
    before = NOON - timedelta(hours=5)
    for _ in range(BACKLOG):
        place(cell, greedy, at=before, hours="XNYS")
    place(cell, neighbour, at=before, hours="XNYS")
    release = "select released, passed_over, next_after from release_queued_orders_v1(256, %s, 'XNYS', %s::uuid)"
    with locked(cell_database, greedy):
        ((released, passed_over, after),) = cell.call(release, NOON, None)
        assert (released, passed_over) == (1, 1)
    assert cell.call("select user_id from brokerage.orders where status = 'funds_held'") == [(neighbour,)]
    while (done := cell.call(release, NOON, after)[0])[0]:
        after = done[2]
    assert cell.call("select count(*) from brokerage.queued_orders") == [(0,)]


def test_the_end_of_a_day_goes_on_behind_a_page_of_a_locked_user(session: Cell, cell_database: TestDatabase) -> None:
    cell = session
    greedy, neighbour = cell.user(CASH), cell.user(CASH)
    for _ in range(20):
        place(cell, greedy, hours="XNYS")
    place(cell, neighbour, hours="XNYS")
    expire = "select last_order_id, ended, deferred from expire_day_orders_v1(%s, %s, 8, %s)"
    ended = 0
    after: uuid.UUID | None = uuid.UUID(int=0)
    with locked(cell_database, greedy):
        while after is not None:
            ((after, by_this, _),) = cell.call(expire, CLOSE, after, CLOSE)
            ended += by_this
    assert ended == 1
    assert cell.call("select user_id from brokerage.orders where status = 'expired'") == [(neighbour,)]


def test_old_keys_are_pruned_past_one_that_somebody_holds(cell: Cell, cell_database: TestDatabase) -> None:
    cell.user(CASH)
    cell.user(CASH)
    cell_database.rehearse("8 days")
    cell.call("set brokerage.clock_offset = '8 days'")
    prune = "select prune_idempotency_keys_v1(clock_v1(), 100)"
    with psycopg.connect(cell_database.superuser_dsn) as other:
        (keys,) = other.execute("select count(*) from brokerage.idempotency_keys").fetchall()[0]
        other.execute("select from brokerage.idempotency_keys limit 1 for update")
        assert cell.call(prune) == [(keys - 1,)]
        other.rollback()
    assert cell.call(prune) == [(1,)]


@pytest.mark.anyio
async def test_rows_of_a_user_who_is_passed_over_take_nobodys_place_in_a_batch(
    cell: Cell, cell_database: TestDatabase
) -> None:
    refused, neighbour = cell.user(CASH), cell.user(CASH)
    cell.place([refused])
    cell.place([neighbour])
    pool = make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test", size=1)
    async with pool, pool.connection() as connection:
        assert [row.user_id for row in await claim_batch(connection, 1)] == [str(refused)], (
            "the oldest row is that user's"
        )
        rows = await claim_batch(connection, 1, passed_over=[str(refused)])
        assert [row.user_id for row in rows] == [str(neighbour)]
