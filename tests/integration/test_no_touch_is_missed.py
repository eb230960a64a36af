"""A stop is reached if any price after the one that its placement saw touches it: whoever commits first, whoever is
killed or locked in between, and however the price turns. Open transactions force the orders.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.runtime.sql_files import read_sql
from tests.support.bare_cell import Cell
from tests.support.databases import TestDatabase

DOLLAR = 1_000_000
AT = 230 * DOLLAR
PLACE = """
select outcome, resource_id, figures ->> 'status'
  from place_orders_v1(%s, %s, array['f'::bytea], array[null::text], array['AAPL'], %s,
                                 array['stop'], array['gtc'], array[1000000::bigint], array[null::bigint], now(),
                                 interval '1 hour', p_stop_pxs => array[%s::bigint])
"""
REPLACE = """
select outcome, resource_id, figures ->> 'status'
  from replace_orders_v1(%s, %s, array['f'::bytea], %s, array[null::int], array[%s::bigint],
                                   array[null::bigint], array[%s::bigint], array[null::text], now())
"""


class Floor:
    """A symbol's prices, the worker's two calls, and customers whose stops buy."""

    def __init__(self, cell: Cell, database: TestDatabase) -> None:
        self.cell, self.database = cell, database
        self.number = 0
        self.user = cell.user(10**15)
        self.tell(229)

    def tell(self, *dollars: int, connection: psycopg.Connection[Any] | None = None, number: int | None = None) -> None:
        """One write: its last price is the reference, the others came before it."""
        numbers = [number] if number else list(range(self.number + 1, self.number + len(dollars) + 1))
        self.number = max(self.number, *numbers)
        (connection or self.cell.connection).execute(
            "select set_reference_prices_v1(%s, %s::bigint[], now(), %s::bigint[])",
            [["AAPL"] * len(dollars), [px * DOLLAR for px in dollars], numbers],
        )

    def look(self) -> int:
        """What the worker does behind every price, and without one."""
        self.cell.call("select judge_stops_v1(100)")
        triggered = 0
        while done := self.cell.call("select triggered from trigger_reached_stops_v1(64, now())")[0][0]:
            triggered += done
        return triggered

    def place(
        self,
        connection: psycopg.Connection[Any] | None = None,
        stop: int = AT,
        side: str = "buy",
    ) -> tuple[uuid.UUID, str]:
        values = [[self.user], [uuid.uuid4().hex], [side], stop]
        row = (connection or self.cell.connection).execute(PLACE, values).fetchone()
        assert row is not None
        assert row[0] == "accepted", row
        return row[1], row[2]

    def replace(
        self, order_id: uuid.UUID, *, stop: int | None = None, qty: int | None = None, connection: Any = None
    ) -> tuple[uuid.UUID, str]:
        values = [[self.user], [uuid.uuid4().hex], [order_id], qty, stop]
        row = (connection or self.cell.connection).execute(REPLACE, values).fetchone()
        assert row is not None
        assert row[0] == "accepted", row
        return row[1], row[2]

    def status(self, order_id: uuid.UUID) -> str:
        return str(self.cell.call("select status from brokerage.orders where order_id = %s", order_id)[0][0])

    @contextmanager
    def another(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection whose transaction stays open until it is told to commit."""
        with psycopg.connect(self.database.service_dsn) as connection:
            yield connection
            connection.commit()

    @contextmanager
    def held(self, user: uuid.UUID) -> Iterator[None]:
        with psycopg.connect(self.database.superuser_dsn) as other:
            other.execute("select from brokerage.users where user_id = %s for update", [user])
            yield
            other.rollback()


@pytest.fixture
def floor(cell: Cell, cell_database: TestDatabase) -> Iterator[Floor]:
    yield Floor(cell, cell_database)
    for check in read_sql("cell", "checks"):
        assert cell.call(check.text) == [], check.name


def test_a_stop_that_commits_after_the_price_was_judged(floor: Floor) -> None:
    with floor.another() as placing:
        order_id, status = floor.place(placing)
        assert status == "armed", "it saw 229"
        floor.tell(231)
        assert floor.look() == 0, "nobody can see it"
        floor.tell(229)
        assert floor.look() == 0
    assert floor.look() == 1
    assert floor.status(order_id) == "funds_held"


def test_a_stop_that_commits_before_the_price_does(floor: Floor) -> None:
    with floor.another() as pricing:
        floor.tell(231, connection=pricing)
        order_id, status = floor.place()
        assert status == "armed", "the price is not there yet"
        assert floor.look() == 0
    floor.tell(229)
    assert floor.look() == 1
    assert floor.status(order_id) == "funds_held"


def test_a_stop_that_is_placed_while_many_prices_pass_and_somebody_else_has_a_long_transaction(floor: Floor) -> None:
    """More writes than are judged at every call: the one that touches waits for the end of both transactions."""
    with psycopg.connect(floor.database.superuser_dsn) as long:
        long.execute("select pg_current_xact_id()")
        with floor.another() as placing:
            order_id, _ = floor.place(placing)
            floor.tell(231)
            for px in range(200, 225):
                floor.tell(px)
                assert floor.look() == 0
        assert floor.look() == 0, "nobody can say yet that no other stop is on its way"
        long.rollback()
    assert floor.look() == 1
    assert floor.status(order_id) == "funds_held"
    floor.look()
    floor.look()
    assert floor.cell.call("select count(*) from brokerage.published_prices") == [(0,)], "nothing is kept for ever"


def test_a_worker_that_is_killed_between_a_price_and_its_stops(floor: Floor) -> None:
    order_id, _ = floor.place()
    floor.tell(231)  # and here it dies
    floor.tell(229)  # the next one's first price
    assert floor.look() == 1
    assert floor.status(order_id) == "funds_held"


def test_a_price_that_came_and_went_between_two_writes(floor: Floor) -> None:
    order_id, _ = floor.place()
    floor.tell(228, 231, 229)
    assert floor.look() == 1
    assert floor.status(order_id) == "funds_held"


def test_prices_up_to_the_mark_do_not_count(floor: Floor) -> None:
    floor.tell(228, 231, 229)
    order_id, _ = floor.place()
    assert floor.look() == 0
    floor.tell(229)
    assert floor.look() == 0
    floor.tell(230)
    assert (floor.look(), floor.status(order_id)) == (1, "funds_held")


def test_an_older_price_that_comes_late_changes_nothing(floor: Floor) -> None:
    floor.tell(229)
    order_id, _ = floor.place()
    floor.tell(231, number=floor.number - 1)
    assert (floor.look(), floor.status(order_id)) == (0, "armed")
    query = "select reference_px_micros, price_number from brokerage.symbols where symbol = 'AAPL'"
    assert floor.cell.call(query) == [(229 * DOLLAR, floor.number)]


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_user_who_is_locked_or_halted_when_it_happens(
    floor: Floor, root: psycopg.Connection[Any], is_locked: bool
) -> None:
    order_id, _ = floor.place()
    halt = "update brokerage.users set owner_state = %s, lease_ends_at = now() + interval '1 hour' where user_id = %s"
    if is_locked:
        with floor.held(floor.user):
            floor.tell(231)
            assert floor.look() == 0
    else:
        root.execute(halt, ["halted", floor.user])
        floor.tell(231)
        assert floor.look() == 0
        root.execute(halt, ["active", floor.user])
    for _ in range(12):
        floor.tell(229)
    assert (floor.look(), floor.status(order_id)) == (1, "funds_held")


def test_a_halted_symbol_touches_nothing_and_the_first_price_after_it_decides(
    floor: Floor, root: psycopg.Connection[Any]
) -> None:
    first, _ = floor.place()
    second, _ = floor.place(stop=240 * DOLLAR)
    with floor.held(floor.user):
        floor.tell(231)
        floor.look()
    root.execute("update brokerage.symbols set halted = true")
    floor.tell(241)
    assert floor.look() == 0, "what was reached waits too"
    root.execute("update brokerage.symbols set halted = false")
    floor.tell(232)
    assert floor.look() == 1
    assert (floor.status(first), floor.status(second)) == ("funds_held", "armed")


def test_a_stop_moved_to_a_level_that_is_passed_goes_at_once(floor: Floor) -> None:
    order_id, _ = floor.place(stop=235 * DOLLAR)
    new_id, status = floor.replace(order_id, stop=229 * DOLLAR)
    assert status == floor.status(new_id) == "funds_held"
    query = "select action from claim_instructions_v1(64)"
    assert floor.cell.call(query) == [("submit",)]
    reason = "select reason from brokerage.order_events where order_id = %s and seq = 3"
    assert floor.cell.call(reason, new_id) == [("accepted, stop reached",)]


def test_a_moved_stop_has_a_mark_of_its_own(floor: Floor) -> None:
    order_id, _ = floor.place(stop=235 * DOLLAR)
    floor.tell(231, 229)
    new_id, status = floor.replace(order_id, stop=AT)
    assert (status, floor.look()) == ("armed", 0), "231 was before the new level"
    floor.tell(230)
    assert (floor.look(), floor.status(new_id)) == (1, "funds_held")


def test_a_stop_that_was_reached_and_keeps_its_level_goes_at_once(floor: Floor) -> None:
    order_id, _ = floor.place()
    floor.tell(231)
    assert floor.cell.call("select judge_stops_v1(100)") == [(1,)]
    floor.tell(229)
    new_id, status = floor.replace(order_id, qty=2 * DOLLAR)
    assert (status, floor.status(new_id)) == ("funds_held", "funds_held")
    assert floor.look() == 0


def test_a_stop_that_is_reached_while_it_is_replaced_is_still_reached(floor: Floor) -> None:
    order_id, _ = floor.place()
    with floor.another() as replacing:
        new_id, status = floor.replace(order_id, qty=2 * DOLLAR, connection=replacing)
        assert status == "armed"
        floor.tell(231)
        assert floor.look() == 0
        for _ in range(12):
            floor.tell(229)
            floor.look()
    newest, _ = floor.replace(new_id, qty=3 * DOLLAR)
    assert floor.look() == 1
    assert floor.status(newest) == "funds_held"


def test_a_stop_that_could_not_be_judged_counts_the_standing_price_when_it_is_told_again(
    floor: Floor, root: psycopg.Connection[Any]
) -> None:
    """Placed when the price was too old to go by, at a level that it has passed."""
    root.execute("update brokerage.symbols set reference_at = now() - interval '2 hours'")
    order_id, status = floor.place(stop=229 * DOLLAR)
    assert status == "armed"
    floor.tell(229, number=floor.number)
    assert (floor.look(), floor.status(order_id)) == (1, "funds_held")


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["begin", "commit", "look"]),
        st.lists(st.integers(226, 234), min_size=1, max_size=3).map(tuple),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, side=st.sampled_from(["buy", "sell"]))
def test_whatever_the_order_a_stop_goes_if_and_only_if_a_price_after_its_placement_touched_it(
    cell: Cell, cell_database: TestDatabase, steps: list[Any], side: str
) -> None:
    """One stop whose placement is a transaction that begins and commits at any of the steps."""
    floor = Floor(cell, cell_database)
    (top,) = cell.call("select price_number from brokerage.symbols where symbol = 'AAPL'")
    floor.number = max(floor.number, top[0])
    floor.tell(230)
    if side == "sell":
        cell.transfer(floor.user, 9 * DOLLAR)
    stop = 232 if side == "buy" else 228
    touched = False
    order_id = None
    with floor.another() as placing:
        for step in steps:
            if step == "begin" and order_id is None:
                order_id, status = floor.place(placing, stop * DOLLAR, side)
                touched = status == "funds_held"
            elif step == "commit":
                placing.commit()
            elif step == "look":
                floor.look()
            elif isinstance(step, tuple):
                floor.tell(*step)
                if order_id is not None:
                    touched |= max(step) >= stop if side == "buy" else min(step) <= stop
    for _ in range(3):
        floor.look()
    if order_id is not None:
        assert floor.status(order_id) == ("funds_held" if touched else "armed")
        cell.call(
            "select 1 from cancel_orders_v1(%s, %s, array['f'::bytea], %s)",
            [floor.user], [uuid.uuid4().hex], [order_id],
        )  # fmt: skip
