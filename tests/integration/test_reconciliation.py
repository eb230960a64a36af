"""Reconciling a cell: every kind of break with the venue is found by its name, and what was found stays found."""

import dataclasses
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from cell.reconciliation.queries import VenueOrder, find_differences, list_runs, record_run
from cell.reconciliation.verdict import EventFindings, VenueFindings, Verdict, judge
from cell.trial_balance import AccountTotal, CheckResult, run_trial_balance
from infra.runtime.database import Pool, make_pool
from infra.runtime.settings import PostgresSettings
from tests.support.cell_books import CellBooks
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio

FIRST, LAST = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
ENDED = ("filled", "cancelled", "expired", "rejected", "replaced", "failed")
Bend = Callable[[VenueOrder], VenueOrder | None]


@pytest.fixture
async def pool(cell_database: TestDatabase) -> AsyncIterator[Pool]:
    async with make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test-reconciliation") as made:
        async with made.connection() as connection:
            books = CellBooks(connection, seed=11)
            await books.open_users(12)
            await books.play(150)
            await books.place([books.random_order(user_id) for user_id in books.users])  # the venue has not seen these
        yield made


async def venue_of(pool: Pool) -> list[VenueOrder]:
    """A venue that agrees: every order that was sent, as the books have it."""
    query = """
    select o.order_id, o.status <> all (%s), o.cum_qty_micros, o.cum_cost_exact::text,
           (select count(*) from brokerage.executions x where x.user_id = o.user_id and x.order_id = o.order_id)
      from brokerage.orders o
     where o.status = 'pending_replace' or exists (
           select from brokerage.order_events e where e.user_id = o.user_id and e.order_id = o.order_id
              and e.to_status in ('routed', 'rejected'))
     order by o.order_id
    """
    async with pool.connection() as connection:
        rows = await (await connection.execute(query, [list(ENDED)])).fetchall()
    return [VenueOrder(order_id, "cell-1", *rest) for order_id, *rest in rows]


async def differences(
    pool: Pool, orders: list[VenueOrder], after: uuid.UUID = FIRST, until: uuid.UUID = LAST
) -> list[dict[str, Any]]:
    return await find_differences(pool, session="cell-1", orders=orders, after=after, until=until)


async def test_a_venue_that_agrees_differs_nowhere(pool: Pool) -> None:
    venue = await venue_of(pool)
    assert len(venue) > 100
    assert await differences(pool, venue) == []
    middle = venue[len(venue) // 2].order_id
    assert await differences(pool, [v for v in venue if v.order_id <= middle], FIRST, middle) == []
    assert await differences(pool, [v for v in venue if v.order_id > middle], middle, LAST) == []


BREAKS: dict[str, Bend] = {
    "another quantity is filled": lambda v: dataclasses.replace(v, cum_qty=v.cum_qty + 1),
    "filled at another cost": lambda v: dataclasses.replace(v, cum_cost=str(int(v.cum_cost or 0) - 1)),
    "another number of executions": lambda v: dataclasses.replace(v, executions=v.executions + 1),
    "open at the venue, ended here": lambda v: dataclasses.replace(v, is_open=True),
    "the venue does not know the order": lambda v: None,
    "the cell does not know the order": lambda v: dataclasses.replace(v, order_id=uuid.uuid4()),
}


async def test_every_break_is_found_by_name(pool: Pool) -> None:
    venue = await venue_of(pool)
    victim = next(order for order in venue if order.executions and not order.is_open)
    for problem, bend in BREAKS.items():
        bent = [other for order in venue if (other := bend(order) if order is victim else order) is not None]
        found = await differences(pool, bent)
        assert problem in {row["problem"] for row in found}
        assert victim.order_id in {row["order_id"] for row in found}
        assert len(found) <= 2


async def test_an_order_that_only_the_venue_ended_is_found(pool: Pool) -> None:
    venue = await venue_of(pool)
    victim = next(order for order in venue if order.is_open)
    bent = [dataclasses.replace(order, is_open=order.is_open and order is not victim) for order in venue]
    assert [(row["order_id"], row["problem"]) for row in await differences(pool, bent)] == [
        (victim.order_id, "ended at the venue, open here")
    ]


async def test_other_cells_orders_and_costs_that_the_venue_forgot_are_no_difference(pool: Pool) -> None:
    venue = [dataclasses.replace(order, cum_cost=None) for order in await venue_of(pool)]
    stranger = VenueOrder(uuid.uuid4(), "cell-2", True, 5, "500", 1)
    assert await differences(pool, [*venue, stranger]) == []


async def test_a_customer_who_left_is_their_new_cells_matter(cell_database: TestDatabase, pool: Pool) -> None:
    venue = await venue_of(pool)
    victim = next(order for order in venue if order.executions)
    async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        await connection.execute(
            "update brokerage.users set owner_state = 'departed' where user_id = "
            "(select user_id from brokerage.orders where order_id = %s)",
            [victim.order_id],
        )
    moved = [dataclasses.replace(order, session="cell-9", cum_qty=1) for order in venue if order is victim]
    rest = [order for order in venue if order is not victim]
    found = await differences(pool, rest + moved)
    assert victim.order_id not in {row["order_id"] for row in found}


async def test_runs_are_kept_newest_first_and_cannot_be_changed(cell_database: TestDatabase, pool: Pool) -> None:
    async with pool.connection() as connection:
        trial = await run_trial_balance(connection)
    now = datetime.now(UTC)
    parts: dict[str, Any] = {
        "started_at": now,
        "ended_at": now,
        "as_of": trial.as_of,
        "actor": "night",
        "totals": [],
        "events": {},
    }
    first, second = uuid.UUID(int=1, version=4), uuid.UUID(int=2, version=4)
    for run_id, verdict in [(first, "equal"), (second, "different")]:
        await record_run(pool, run_id=run_id, verdict=verdict, checks=[], venue={"asked": False}, **parts)
    rows = await list_runs(pool, before=None, limit=10)
    assert [(row["run_id"], row["verdict"]) for row in rows] == [(second, "different"), (first, "equal")]
    assert await list_runs(pool, before=first, limit=10) == []
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        for forbidden in (
            "update brokerage.reconciliations set verdict = 'equal'",
            "delete from brokerage.reconciliations",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(forbidden)


async def test_totals_are_what_was_posted_and_close_in_every_unit(pool: Pool) -> None:
    async with pool.connection() as connection:
        trial = await run_trial_balance(connection)
        (posted,) = await (
            await connection.execute("select sum(amount_micros)::bigint from brokerage.postings where unit = 'USD'")
        ).fetchall()
    dollars = [total for total in trial.totals if total.unit == "USD"]
    assert {total.account for total in dollars} == {"bank", "cash", "cash_held", "clearing"}
    assert sum(total.debit_micros for total in dollars) == sum(total.credit_micros for total in dollars)
    assert sum(total.debit_micros + total.credit_micros for total in dollars) == posted[0]


GREEN = CheckResult("entries_balance", 0, [], 1.0)
EQUAL_TOTALS = [AccountTotal("bank", "USD", 5, 0), AccountTotal("cash", "USD", 0, 5)]
ASKED = VenueFindings(asked=True, compared=3)
COUNTED = EventFindings(asked=True, order_records=7, order_events=5, ledger_records=5, ledger_events=5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Verdict.EQUAL),
        ({"checks": [CheckResult("chain_verifies", 2, [], 1.0)]}, Verdict.DIFFERENT),
        ({"totals": EQUAL_TOTALS[:1]}, Verdict.DIFFERENT),
        ({"venue": VenueFindings(asked=True, differences=1)}, Verdict.DIFFERENT),
        ({"venue": VenueFindings(asked=False, reason="away")}, Verdict.INCOMPLETE),
        ({"events": EventFindings(asked=True, order_events=5, order_records=4)}, Verdict.DIFFERENT),
        ({"events": EventFindings(asked=False, reason="away")}, Verdict.INCOMPLETE),
        ({"events": EventFindings(asked=False), "checks": [CheckResult("x", 1, [], 1.0)]}, Verdict.DIFFERENT),
    ],
)
async def test_a_verdict_is_equal_only_if_everything_was_asked_and_is_equal(
    change: dict[str, Any], expected: Verdict
) -> None:
    found: dict[str, Any] = {"checks": [GREEN], "totals": EQUAL_TOTALS, "venue": ASKED, "events": COUNTED}
    assert judge(**(found | change)) is expected
