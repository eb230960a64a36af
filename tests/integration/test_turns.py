"""One user's backlog is nobody else's: whatever takes a few of many gives every user a turn, past who is locked."""

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from infra.runtime.sql_files import read_sql
from tests.support.bare_cell import Cell
from tests.support.databases import TestDatabase

CASH = 10**15
CLAIM = "select user_id, order_id, next_after from claim_instructions_v1(%s, %s::uuid)"
BACKLOG = 300


@pytest.fixture(autouse=True)
def checks(cell: Cell) -> Iterator[None]:
    yield
    for check in read_sql("cell", "checks"):
        assert cell.call(check.text) == [], check.name


@contextmanager
def locked(database: TestDatabase, *users: uuid.UUID) -> Iterator[None]:
    """Another writer has these users."""
    with psycopg.connect(database.superuser_dsn) as other:
        query = "select from brokerage.users where user_id = any (%s) for no key update"
        assert len(other.execute(query, [list(users)]).fetchall()) == len(users)
        yield
        other.rollback()


def claim(cell: Cell, limit: int, after: uuid.UUID | None = None) -> tuple[list[uuid.UUID], uuid.UUID | None]:
    rows = cell.call(CLAIM, limit, after)
    return [row[0] for row in rows if row[0] is not None], rows[-1][2] if rows else after


def greedy_and(cell: Cell, neighbours: int, backlog: int = BACKLOG) -> tuple[uuid.UUID, list[uuid.UUID]]:
    """A user with a backlog, and others who came later with one order each."""
    greedy = cell.user(CASH)
    for _ in range(backlog):
        assert cell.place([greedy])[0][0] == "accepted"
    others = [cell.user(CASH) for _ in range(neighbours)]
    for user in others:
        assert cell.place([user])[0][0] == "accepted"
    return greedy, others


def test_a_backlog_of_thousands_leaves_the_neighbour_in_the_first_claim(
    cell: Cell, root: psycopg.Connection[Any]
) -> None:
    greedy, (neighbour,) = greedy_and(cell, 1)
    # thousands more, as unsent as the others; of orders that ended, so that they cost the test nothing
    root.execute(
        """insert into brokerage.venue_instructions (user_id, order_id, action, created_at)
           select user_id, order_id, 'cancel', created_at from brokerage.venue_instructions, generate_series(1, 10)
            where user_id = %s""",
        [greedy],
    )
    newest = "update brokerage.venue_instructions set id = default where user_id = %s"
    root.execute(newest, [neighbour])
    taken, _ = claim(cell, 64)
    assert neighbour in taken
    assert Counter(taken)[greedy] == 63, "one user gets what nobody else needs"
    root.execute("delete from brokerage.venue_instructions where action = 'cancel'")


def test_a_locked_user_with_a_backlog_does_not_stop_the_others(cell: Cell, cell_database: TestDatabase) -> None:
    greedy, others = greedy_and(cell, 5)
    with locked(cell_database, greedy):
        assert sorted(claim(cell, 4)[0] + claim(cell, 4)[0]) == sorted(others)
        assert claim(cell, 4) == ([], None)
    assert claim(cell, 4)[0] == [greedy] * 4


def test_locked_users_use_up_nothing_of_the_limit(cell: Cell, cell_database: TestDatabase) -> None:
    users = sorted(cell.user(CASH) for _ in range(12))
    for user in users:
        cell.place([user])
    with locked(cell_database, *users[:10]):
        assert sorted(claim(cell, 2)[0]) == users[10:]


def test_everybody_has_a_turn_before_anybody_has_two(cell: Cell) -> None:
    users = sorted(cell.user(CASH) for _ in range(10))
    for _ in range(4):
        cell.place(users)
    seen: Counter[uuid.UUID] = Counter()
    after = None
    for turn in range(10):
        taken, after = claim(cell, 4, after)
        seen.update(taken)
        assert len(taken) == 4
        assert max(seen.values()) - min(seen[user] for user in users) <= 1, turn
    assert claim(cell, 4, after)[0] == []


def test_a_long_run_of_locked_users_is_looked_through_in_pieces(
    cell: Cell, cell_database: TestDatabase, root: psycopg.Connection[Any]
) -> None:
    """1,024 users are looked at per call; the cursor goes on behind them, so the last one has a turn."""
    model = cell.user(CASH)
    cell.place([model])
    root.execute(
        """insert into brokerage.venue_instructions (user_id, order_id, action, created_at)
           select gen_random_uuid(), order_id, 'submit', now()
             from brokerage.venue_instructions, generate_series(1, 1500) where user_id = %s""",
        [model],
    )  # of users who are not here: as good as locked
    first = uuid.UUID(int=0)
    taken, after = claim(cell, 8, first)
    rounds = 1
    while not taken:
        assert after is not None
        taken, after = claim(cell, 8, after)
        rounds += 1
    assert taken == [model]
    assert rounds <= 2
    root.execute("delete from brokerage.venue_instructions where user_id <> %s", [model])
