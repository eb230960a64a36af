"""Every state of an order meets every event, legal or not: what is answered, where the order stands, and closed books.

The table is written out by hand; a state that is missing fails the test, so that each must be thought through.
"""

import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg
import pytest

from cell.orders.status import OrderStatus
from cell.trial_balance import run_trial_balance
from tests.support.cell_books import MICROS, CellBooks, PlacedOrder, now
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio

PX = 228_000_000
QTY = 10 * MICROS

ENDED_EMPTY = "cancelled expired rejected replaced"
ENDED_PART = "cancelled+ expired+ replaced+"
"""A plus: with a fill. `replacement` is the new order of a pending replacement."""
STATES = (
    f"armed queued funds_held routed partially_filled+ pending_cancel pending_cancel+ pending_replace pending_replace+ "
    f"replacement filled+ {ENDED_EMPTY} {ENDED_PART}"
).split()
EVENTS = ["cancel", "replace", "accepted", "part", "rest", "cancelled", "expired", "rejected", "cancel_rejected"]
EVENTS += ["replaced", "replace_rejected", "bust", "correct"]

UNSEEN = ("armed", "queued", "funds_held")
EXPECTED: dict[str, dict[str, str]] = {
    "cancel": {
        **dict.fromkeys(UNSEEN, "cancelled > cancelled"),
        **dict.fromkeys(
            ("routed", "partially_filled+", "pending_cancel", "pending_cancel+"), "pending_cancel > pending_cancel"
        ),
        "*": "ORDER_NOT_OPEN",
    },
    "replace": {
        **dict.fromkeys(UNSEEN, "accepted > replaced"),
        **dict.fromkeys(("routed", "partially_filled+"), "accepted > pending_replace"),
        "*": "ORDER_NOT_OPEN",
    },
    "accepted": {"replacement": "applied > routed", "*": "applied"},
    "part": {
        **dict.fromkeys(("routed", "replacement"), "applied > partially_filled"),
        "filled+": "early",
        "*": "applied",
    },
    "rest": {"filled+": "early", "*": "applied > filled"},
    "cancelled": {
        **dict.fromkeys(("filled+", *ENDED_EMPTY.split(), *ENDED_PART.split()), "duplicate"),
        "*": "applied > cancelled",
    },
    "expired": {
        **dict.fromkeys(("filled+", *ENDED_EMPTY.split(), *ENDED_PART.split()), "duplicate"),
        "*": "applied > expired",
    },
    "rejected": {
        **dict.fromkeys(("filled+", *ENDED_EMPTY.split(), *ENDED_PART.split()), "duplicate"),
        **dict.fromkeys(("partially_filled+", "pending_cancel+", "pending_replace+"), "quarantined"),
        "*": "applied > rejected",
    },
    "cancel_rejected": {
        "pending_cancel": "applied > routed",
        "pending_cancel+": "applied > partially_filled",
        "replacement": "quarantined",
        "*": "duplicate",
    },
    "replaced": {"replacement": "applied > routed", "*": "duplicate"},
    "replace_rejected": {"replacement": "applied > rejected", "*": "duplicate"},
    "bust": {
        "partially_filled+": "applied > routed",
        "filled+": "applied > cancelled",
        **dict.fromkeys(("pending_cancel+", "pending_replace+", *ENDED_PART.split()), "applied"),
        "*": "early",
    },
    "correct": {
        **dict.fromkeys(
            ("partially_filled+", "filled+", "pending_cancel+", "pending_replace+", *ENDED_PART.split()), "applied"
        ),
        "*": "early",
    },
}


def expected(state: str, event: str, status: str) -> tuple[str, str]:
    """The outcome and the status after it; what the table does not say changes nothing."""
    row = EXPECTED[event]
    if state in UNSEEN and event not in ("cancel", "replace"):
        return "quarantined", status
    outcome, _, after = row.get(state, row["*"]).partition(" > ")
    return outcome, after or status


class Stage:
    """One order, brought into a state."""

    def __init__(self, books: CellBooks, user_id: uuid.UUID) -> None:
        self.books = books
        self.order = PlacedOrder(user_id, books.new_id(), "AAPL", "buy", PX, QTY)
        self.old: PlacedOrder | None = None

    async def tell(self, kind: str) -> str:
        (outcome,) = await self.books.tell([self.books.report(kind, self.order)])
        return outcome

    async def status(self) -> str:
        cursor = await self.books.connection.execute(
            "select status from brokerage.orders where order_id = %s", [self.order.order_id]
        )
        row = await cursor.fetchone()
        assert row is not None
        return str(row[0])

    async def reach(self, state: str) -> None:
        name = state.removesuffix("+")
        if name in ("armed", "queued"):
            await self._place_waiting(name)
            return
        assert await self.books.place([self.order]) == ["accepted"]
        if name == "funds_held":
            return
        await self.books.route()
        if state.endswith("+"):
            await self.books.tell([self.books.fill(self.order, QTY if name == "filled" else 4 * MICROS)])
        if name == "pending_cancel":
            await self.books.cancel([self.order])
        elif name in ("pending_replace", "replaced", "replacement"):
            await self._replace(name)
        elif name in ("cancelled", "expired", "rejected"):
            await self.tell(name)

    async def _replace(self, name: str) -> None:
        before = self.order
        old = PlacedOrder(before.user_id, before.order_id, "AAPL", "buy", PX, before.leaves, filled=before.filled)
        old.last_exec_id, old.fills = before.last_exec_id, before.fills
        assert await self.books.replace([self.order], qty_ppm=1_200_000) == ["accepted"]
        if name == "replaced":
            assert await self.tell("replaced") == "applied"
        if name != "replacement":
            self.order = old

    async def _place_waiting(self, name: str) -> None:
        order = self.order
        kind, stop_px, hours = ("stop_limit", PX + 10_000_000, "always") if name == "armed" else ("limit", None, "XNYS")
        [(outcome, order.order_id)] = await (
            await self.books.connection.execute(
                "select outcome, resource_id from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, %s, "
                "%s::bigint[], %s::bigint[], %s, %s, false, %s::bigint[], %s)",
                [
                    *([order.user_id], [uuid.uuid4().hex], [b"f"], [None], ["AAPL"], ["buy"], [kind]),
                    *(["gtc"], [QTY], [PX], now(), timedelta(hours=1), [stop_px], hours),
                ],
            )
        ).fetchall()
        assert outcome == "accepted"
        assert await self.status() == name

    async def meet(self, event: str) -> str:
        books, order = self.books, self.order
        if event in ("cancel", "replace"):
            subject = PlacedOrder(order.user_id, order.order_id, "AAPL", "buy", PX, order.leaves, filled=order.filled)
            act: Callable[[list[PlacedOrder]], Awaitable[list[str]]] = (
                books.cancel if event == "cancel" else books.replace
            )
            return (await act([subject]))[0]
        if event in ("part", "rest"):
            report = books.fill(order, MICROS if event == "part" or not order.leaves else order.leaves)
        elif event in ("bust", "correct"):
            told: dict[str, object] = (
                {"last_qty": order.filled or 1, "last_px": PX - 10_000} if event == "correct" else {}
            )
            report = books.revise(order, event, **told)
        else:
            report = books.report(event, order)
        return (await books.tell([report]))[0]


def test_the_table_knows_every_state_and_event() -> None:
    transient = {OrderStatus.PENDING, OrderStatus.VALIDATED, OrderStatus.FAILED}
    assert {state.removesuffix("+") for state in STATES} - {"replacement"} == set(OrderStatus) - transient
    assert set(EXPECTED) == set(EVENTS)


async def test_every_state_meets_every_event(cell_database: TestDatabase) -> None:
    wrong: dict[str, tuple[object, object]] = {}
    async with (
        await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as superuser,
    ):
        opens = now() + timedelta(hours=1)
        await superuser.execute(
            "insert into brokerage.market_sessions (trade_date, opens_at, closes_at) values (%s, %s, %s)",
            [opens.date(), opens, opens + timedelta(hours=6)],
        )
        books = CellBooks(connection)
        await books.open_users(len(STATES) * len(EVENTS), cash=10_000 * MICROS)
        users = iter(books.users)
        for state in STATES:
            for event in EVENTS:
                stage = Stage(books, next(users))
                await stage.reach(state)
                before = await stage.status()
                found = await stage.meet(event), await stage.status()
                if found != expected(state, event, before):
                    wrong[f"{state} meets {event}"] = (found, expected(state, event, before))
        assert wrong == {}
        trial = await run_trial_balance(connection)
        assert trial.healthy, [check for check in trial.checks if check.violations]
