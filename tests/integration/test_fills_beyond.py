"""Fills and corrections beyond their order, until something else is taken back, or they are: in whatever order they are
told, and however often, the books are those of the order in which they were done. What never gets room is for a person,
a day later."""

import itertools
import logging
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from cell.executions.early import EarlyReports
from cell.executions.metrics import WORKER_METRICS
from cell.operations.queries import EARLY_REPORTS, QUARANTINE, read_all
from infra.runtime.database import Pool, make_pool
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from tests.support.cell_books import MICROS, SYMBOLS, CellBooks, PlacedOrder
from tests.support.databases import TestDatabase
from tests.support.later_clock import LaterClock
from tests.support.venue_books import proven

pytestmark = pytest.mark.anyio
PX = SYMBOLS["AAPL"]
USERS = 24


@dataclass
class Desk:
    """Orders for ten shares, each of a user of its own, and what the venue tells of them."""

    books: CellBooks
    pool: Pool
    taken: int = 0
    bodies: dict[str, dict[str, object]] = field(default_factory=dict)
    """The reports of the last order."""

    async def order(self, side: str = "buy", *, by_amount: bool = False) -> PlacedOrder:
        user = self.books.users[self.taken]
        self.taken += 1
        self.bodies = {}
        if by_amount:
            [order] = await self.books.place_amounts([user], side, 10 * PX)
        else:
            order = PlacedOrder(user, self.books.new_id(), "AAPL", side, PX, 10 * MICROS)
            assert await self.books.place([order]) == ["accepted"]
        await self.books.route()
        return order

    async def crowded_order(self, side: str = "buy", *, by_amount: bool = False) -> PlacedOrder:
        """One with fills A of six shares and B of five: whichever is told first leaves no room for the other."""
        order = await self.order(side, by_amount=by_amount)
        self.fill(order, "A", 6)
        self.fill(order, "B", 5)
        return order

    def fill(self, order: PlacedOrder, name: str, shares: int) -> None:
        told = {"exec_id": name, "last_qty": shares * MICROS, "last_px": PX}
        self.bodies[name] = self.books.report("fill", order, **told)

    def revise(self, order: PlacedOrder, name: str, ref: str, shares: int = 0) -> None:
        """A correction to so many shares, or a bust."""
        told: dict[str, object] = {"last_qty": shares * MICROS, "last_px": PX} if shares else {}
        kind = "correct" if shares else "bust"
        self.bodies[name] = self.books.report(kind, order, exec_id=name, exec_ref_id=ref, **told)

    async def tell(self, *names: str) -> list[str]:
        return [(await self.books.tell([self.bodies[name]]))[0] for name in names]

    async def rows(self, query: str, *values: object) -> list[Any]:
        return await (await self.books.connection.execute(query, values)).fetchall()

    async def stands(self, order: PlacedOrder) -> tuple[str, int]:
        """The order's status and how many shares of it are filled."""
        query = "select status, cum_qty_micros / 1000000 from brokerage.orders where order_id = %s"
        [(status, shares)] = await self.rows(query, order.order_id)
        return status, shares

    async def waiting(self, order: PlacedOrder) -> set[str]:
        query = "select distinct body ->> 'exec_id' from brokerage.early_reports where order_id = %s"
        return {name for (name,) in await self.rows(query, order.order_id)}

    async def balances(self, order: PlacedOrder) -> tuple[Any, ...]:
        """Everything that the order changed, but for the way there."""
        query = """
            select o.status, o.cum_qty_micros, o.cum_cost_exact, o.cum_cost_micros,
                   o.held_cash_micros, o.held_shares_micros, u.cash_micros, u.cash_held_micros, u.restricted,
                   p.qty_micros, p.qty_held_micros, p.cost_basis_micros,
                   (select sum(amount_micros) from brokerage.unsettled_lots l where l.user_id = u.user_id),
                   (select string_agg(x.exec_id, ' ' order by x.exec_id) from brokerage.executions x
                     where x.user_id = u.user_id)
              from brokerage.orders o join brokerage.users u using (user_id)
              join brokerage.positions p on p.user_id = u.user_id and p.symbol = o.symbol
             where order_id = %s"""
        [row] = await self.rows(query, order.order_id)
        return tuple(row)

    async def quarantined(self) -> list[tuple[str, str]]:
        return [(row["body"]["exec_id"], row["reason"]) for row in await read_all(self.pool, QUARANTINE, [0, 100])]


@pytest.fixture
async def desk(cell_database: TestDatabase) -> AsyncIterator[Desk]:
    async with proven(cell_database, USERS) as (books, pool):
        yield Desk(books, pool)


def in_every_order(*names: str) -> list[Sequence[str]]:
    """And each of them twice, the copies after or at once."""
    orders = list(itertools.permutations(names))
    doubled = [[name for name in order for _ in range(2)] for order in orders]
    return [*orders, *(order + order for order in orders[::2]), *doubled[1::2]]


@pytest.mark.parametrize("by_amount", [False, True])
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_fill_its_bust_and_another_fill_in_every_order(desk: Desk, side: str, by_amount: bool) -> None:
    """The venue did A, bust of A, B, and A and B together are too much."""
    found = {}
    for told in [("A", "bust", "B"), *in_every_order("A", "bust", "B")]:
        order = await desk.crowded_order(side, by_amount=by_amount)
        desk.revise(order, "bust", "A")
        await desk.tell(*told)
        assert await desk.waiting(order) == set(), told
        found[tuple(told)] = await desk.balances(order)
    assert len(set(found.values())) == 1, found
    assert await desk.quarantined() == []


@pytest.mark.parametrize("by_amount", [False, True])
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_fill_its_correction_and_another_fill(desk: Desk, side: str, by_amount: bool) -> None:
    """A was six, then five: then there is room for B."""
    found = {}
    for told in in_every_order("A", "correction", "B"):
        order = await desk.crowded_order(side, by_amount=by_amount)
        desk.revise(order, "correction", "A", 5)
        await desk.tell(*told)
        assert await desk.waiting(order) == set(), told
        assert (await desk.stands(order))[1] == 10
        found[tuple(told)] = await desk.balances(order)
    assert len(set(found.values())) == 1, found
    assert await desk.quarantined() == []


CHAINS = {
    "a correction that finds room, and its bust": ([7, 4], [("C", "A", 5), ("D", "C", 0)], 4),
    "a correction that finds no room, and its correction": ([6, 5], [("C", "A", 7), ("D", "C", 4)], 9),
    "a correction of what was posted, and its bust": ([2, 7], [("C", "A", 4), ("D", "C", 0)], 7),
    "a correction of what was posted, and its correction": ([2, 7], [("C", "A", 4), ("D", "C", 3)], 10),
}


@pytest.mark.parametrize(
    ("chain", "side", "by_amount"),
    list(zip(CHAINS, ["buy", "sell", "sell", "buy"], [True, False, False, False], strict=True)),
)
async def test_revisions_of_revisions_in_every_order(desk: Desk, chain: str, side: str, by_amount: bool) -> None:
    """There is never more of it than the order; copies of all come at once, at the end or not at all."""
    fills, revisions, remains = CHAINS[chain]
    found = {}
    for number, told in enumerate(itertools.permutations("ABCD")):
        order = await desk.order(side, by_amount=by_amount)
        for name, shares in zip("AB", fills, strict=True):
            desk.fill(order, name, shares)
        for name, ref, shares in revisions:
            desk.revise(order, name, ref, shares)
        for name in [told, told + told, [name for name in told for _ in range(2)]][number % 3]:
            await desk.tell(name)
            assert (await desk.stands(order))[1] <= 10
        assert await desk.waiting(order) == set(), told
        assert (await desk.stands(order))[1] == remains
        found[told] = await desk.balances(order)
    assert len(set(found.values())) == 1, found
    assert await desk.quarantined() == []


def what_a_venue_may_do(rng: random.Random, steps: int) -> tuple[list[tuple[str, str | None, int]], int]:
    """To an order for ten shares, one after the other: trades and what they take back; how many shares stand then."""
    done: list[tuple[str, str | None, int]] = []
    standing: dict[str, int] = {}
    while len(done) < steps:
        name = f"e{len(done)}"
        ref = rng.choice([None, *standing])
        room = 10 - sum(standing.values()) + (standing[ref] if ref else 0)
        shares = rng.randint(0 if ref else 1, room) if room else 0
        if ref or shares:
            standing.pop(ref or "", None)
            standing |= {name: shares} if shares else {}
            done.append((name, ref, shares))
    return done, sum(standing.values())


@pytest.mark.parametrize("by_amount", [False, True])
async def test_whatever_the_venue_did_is_told_in_any_order(desk: Desk, by_amount: bool) -> None:
    rng = random.Random(8)
    for number in range(USERS):
        done, remains = what_a_venue_may_do(rng, 3 + number % 4)
        order = await desk.order(rng.choice(["buy", "sell"]), by_amount=by_amount)
        for name, ref, shares in done:
            desk.revise(order, name, ref, shares) if ref else desk.fill(order, name, shares)
        told = rng.sample(list(desk.bodies), len(done)) + rng.sample(list(desk.bodies), 2)
        await desk.tell(*told)
        assert ((await desk.stands(order))[1], await desk.waiting(order)) == (remains, set()), (done, told)
    assert await desk.quarantined() == []
    superseded = "select count(*) from brokerage.executions where stands_qty_micros is not null"
    assert (await desk.rows(superseded))[0][0] > 3


async def test_a_superseded_fill_is_known_by_what_it_reported(desk: Desk) -> None:
    """Copies are copies; what tells something else under its name is for a person, and so is a second correction."""
    order = await desk.crowded_order()
    desk.revise(order, "C", "A", 5)
    other = desk.bodies["A"] | {"last_px": PX - 10_000}
    assert await desk.tell("B", "A") == ["applied", "early"]
    assert await desk.books.tell([other]) == ["early"]
    assert await desk.tell("A", "C", "A", "C") == ["early", "applied", "duplicate", "duplicate"]
    assert await desk.stands(order) == ("filled", 10)
    assert await desk.quarantined() == [("A", "exec id seen with other content")]
    told = await desk.rows(
        "select reason, exec_id, last_qty_micros / 1000000, cum_qty_micros / 1000000 from brokerage.order_events "
        "where order_id = %s and exec_id is not null order by seq",
        order.order_id,
    )
    assert told == [("fill", "B", 5, 5), ("superseded", "A", 6, 5), ("correction", "C", 5, 10)]
    assert await desk.books.tell([other]) == ["quarantined"]
    desk.revise(order, "another", "A", 4)
    desk.revise(order, "D", "C", 4)
    desk.revise(order, "bust", "D")
    assert await desk.tell("another", "D", "bust") == ["quarantined", "applied", "applied"]
    assert await desk.stands(order) == ("cancelled", 5)


async def test_a_fill_yields_to_what_waits_for_room_itself(desk: Desk) -> None:
    order = await desk.crowded_order()
    desk.revise(order, "A is seven", "A", 7)
    desk.revise(order, "B is three", "B", 3)
    assert await desk.tell("B", "A", "A is seven") == ["applied", "early", "early"]
    assert await desk.stands(order) == ("partially_filled", 5)
    [row] = await read_all(desk.pool, EARLY_REPORTS, [0, 10])
    assert row["reason"] == "waits for room for 7000000 micros of the order's quantity"
    assert await desk.tell("B is three") == ["applied"]
    assert await desk.stands(order) == ("filled", 10)
    assert await desk.waiting(order) == set()


async def test_a_correction_to_more_than_the_amount_may_stand_alone(desk: Desk) -> None:
    """It is what was paid, and would have been posted if its fill had found room."""
    order = await desk.order(by_amount=True)
    desk.fill(order, "A", 9)
    desk.fill(order, "B", 5)
    desk.revise(order, "A is dearer", "A", 9)
    desk.bodies["A is dearer"]["last_px"] = PX * 2
    desk.revise(order, "bust of B", "B")
    assert await desk.tell("B", "A", "A is dearer", "bust of B") == ["applied", "early", "early", "applied"]
    assert await desk.stands(order) == ("partially_filled", 9)
    assert await desk.waiting(order) == set()


async def test_room_that_came_before_the_correction_is_taken(desk: Desk) -> None:
    order = await desk.crowded_order()
    desk.revise(order, "B is four", "B", 4)
    desk.revise(order, "C", "A", 5)
    assert await desk.tell("B", "A", "B is four") == ["applied", "early", "applied"]
    assert await desk.stands(order) == ("filled", 10)
    assert await desk.tell("C") == ["applied"]
    assert await desk.stands(order) == ("cancelled", 9)


async def test_a_fill_does_not_give_way_to_what_cannot_stand_for_it(desk: Desk) -> None:
    """A reference to something else, a correction beyond the whole order, and one under the fill's own name."""
    order = await desk.crowded_order()
    desk.revise(order, "elsewhere", "Z", 5)
    desk.revise(order, "too large", "A", 11)
    desk.revise(order, "itself", "A", 5)
    desk.bodies["itself"]["exec_id"] = "A"
    told = ["B", "itself", "A", "elsewhere", "too large"]
    assert await desk.tell(*told) == ["applied", "early", "early", "early", "quarantined"]
    assert await desk.stands(order) == ("partially_filled", 5)
    assert await desk.waiting(order) == {"A", "elsewhere"}
    desk.revise(order, "C", "A", 5)
    assert await desk.tell("C") == ["applied"]
    assert await desk.stands(order) == ("filled", 10)
    assert await desk.waiting(order) == {"elsewhere"}
    assert await desk.quarantined() == [
        ("too large", "fill beyond the order's quantity"),
        ("A", "exec id seen with other content"),
    ]


async def test_a_correction_waits_for_room_too(desk: Desk) -> None:
    order = await desk.order()
    desk.fill(order, "A", 5)
    desk.fill(order, "B", 5)
    desk.revise(order, "A is seven", "A", 7)
    desk.revise(order, "B is three", "B", 3)
    assert await desk.tell("A", "B", "A is seven", "A is seven") == ["applied", "applied", "early", "early"]
    assert await desk.stands(order) == ("filled", 10)
    [row, _] = await read_all(desk.pool, EARLY_REPORTS, [0, 10])
    assert row["reason"] == "waits for room for 2000000 micros of the order's quantity"
    assert await desk.tell("B is three", "A is seven") == ["applied", "duplicate"]
    assert await desk.stands(order) == ("filled", 10)
    assert await desk.waiting(order) == set()


async def test_a_correction_that_waits_learns_that_its_fill_is_gone(desk: Desk) -> None:
    """It would wait for nothing: the same verdict as if it had come now."""
    order = await desk.order()
    desk.fill(order, "A", 1)
    desk.fill(order, "B", 9)
    desk.revise(order, "A is nine", "A", 9)
    desk.revise(order, "bust", "A")
    assert await desk.tell("A", "B", "A is nine", "bust") == ["applied", "applied", "early", "applied"]
    assert await desk.stands(order) == ("cancelled", 9)
    assert await desk.quarantined() == [("A is nine", "takes back an execution that was taken back before")]


async def test_a_correction_waits_for_its_fill_and_then_for_room(desk: Desk) -> None:
    order = await desk.order()
    desk.fill(order, "A", 2)
    desk.fill(order, "B", 8)
    desk.revise(order, "A is four", "A", 4)
    desk.revise(order, "B is six", "B", 6)
    assert await desk.tell("B", "A is four", "A") == ["applied", "early", "applied"]
    assert await desk.waiting(order) == {"A is four"}
    assert await desk.tell("B is six") == ["applied"]
    assert await desk.stands(order) == ("filled", 10)
    assert await desk.waiting(order) == set()


async def test_room_for_one_of_several_goes_to_the_first(desk: Desk) -> None:
    order = await desk.order()
    for name, shares in (("A", 10), ("B", 6), ("C", 6), ("D", 4)):
        desk.fill(order, name, shares)
    desk.revise(order, "bust of A", "A")
    desk.revise(order, "bust of B", "B")
    assert await desk.tell("A", "C", "B", "D", "B") == ["applied", "early", "early", "early", "early"]
    assert await desk.tell("bust of A") == ["applied"]
    assert await desk.stands(order) == ("filled", 10), "C and D"
    assert await desk.waiting(order) == {"B"}
    assert await desk.tell("bust of B") == ["applied"]
    assert await desk.stands(order) == ("filled", 10), "B came, and went"
    assert await desk.waiting(order) == set()


async def test_a_copy_with_other_content_does_not_wait_for_what_was_told_already(desk: Desk) -> None:
    order = await desk.order()
    desk.fill(order, "A", 8)
    desk.fill(order, "B", 5)
    desk.revise(order, "bust", "A")
    other = desk.bodies["B"] | {"last_qty": 9 * MICROS}
    assert await desk.tell("A", "B") == ["applied", "early"]
    assert await desk.books.tell([other]) == ["early"]
    assert await desk.tell("bust") == ["applied"]
    assert await desk.stands(order) == ("partially_filled", 5)
    assert await desk.quarantined() == [("B", "exec id seen with other content")]


@pytest.mark.parametrize("by_amount", [False, True])
async def test_what_is_larger_than_the_whole_order_waits_for_nothing(desk: Desk, by_amount: bool) -> None:
    order = await desk.order(by_amount=by_amount)
    desk.fill(order, "A", 11)
    assert await desk.tell("A") == ["quarantined"]
    assert await desk.quarantined() == [("A", f"fill beyond the order's {'amount' if by_amount else 'quantity'}")]


async def test_what_never_gets_room_is_for_a_person(
    desk: Desk, cell_database: TestDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    before, reasons = {}, []
    for by_amount in (False, True):
        order = await desk.crowded_order(by_amount=by_amount)
        assert await desk.tell("A", "B") == ["applied", "early"]
        before[order.order_id] = order, await desk.balances(order)
        reasons.append(("B", f"fill beyond the order's {'amount' if by_amount else 'quantity'}"))
    [quantity, amount] = await read_all(desk.pool, EARLY_REPORTS, [0, 10])
    assert quantity["reason"] == "waits for room for 5000000 micros of the order's quantity"
    assert amount["reason"] == f"waits for room for {5 * PX} micros of the order's amount"
    clock = LaterClock()
    cell_database.rehearse("25 hours")
    no_reasons: list[tuple[str, str]] = []
    for hours, aside in ((23, no_reasons), (25, reasons)):
        clock.after = timedelta(hours=hours)
        settings = PostgresSettings(dsn=cell_database.service_dsn, clock_offset_s=clock.after.total_seconds())
        async with make_pool(settings, "later") as pool:
            with caplog.at_level(logging.ERROR):
                await EarlyReports(pool, cell="cell-1", clock=clock, metrics=Metrics(WORKER_METRICS)).look()
        assert await desk.quarantined() == aside
    assert caplog.text.count("a report waited in vain") == 2
    for order, balances in before.values():
        assert await desk.balances(order) == balances
    desk.revise(order, "bust", "A")
    assert await desk.tell("bust") == ["applied"]
    assert await desk.stands(order) == ("routed", 0), "what is with a person does not come back by itself"
    [_, (quarantine_id,)] = await desk.rows("select id from brokerage.quarantined_reports order by id")
    retry = "select inbox_id from retry_report_v1(%s, 'maria', 'there is room now', now())"
    [(inbox_id,)] = await desk.rows(retry, quarantine_id)
    assert await desk.books._apply([inbox_id]) == ["applied"]
    assert await desk.stands(order) == ("partially_filled", 5)
