"""A cell's books filled through its own procedures, as the api and the worker call them, without those processes.

Deterministic by seed, but for times and ids of orders, which the cell makes. It plays customers and venue: deposits,
transfers, orders on both sides, partial fills at odd prices, cancels, rejections, expiries, and fills after the end.
"""

import copy
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

MICROS = 1_000_000
SYMBOLS = {"AAPL": 228_500_000, "MSFT": 428_900_000, "TSLA": 251_700_000, "GME": 24_550_000}
"""At what the exchange starts with, so that orders stay inside its price bands."""
BATCH = 64
VENUE, SESSION = "exchange", "cell-1"
_Item = TypeVar("_Item")


@dataclass
class PlacedOrder:
    """What the venue knows of an order."""

    user_id: uuid.UUID
    order_id: uuid.UUID
    symbol: str
    side: str
    limit_px: int
    leaves: int
    fills: int = 0
    ended: bool = False
    filled: int = 0
    last_exec_id: str = ""
    replaced: list[uuid.UUID] = field(default_factory=list)
    """The orders that it has replaced, oldest first."""


@dataclass
class CellBooks:
    """One database under test, through a connection with the service role and autocommit."""

    connection: AsyncConnection[Any]
    seed: int = 1
    users: list[uuid.UUID] = field(default_factory=list)
    orders: dict[uuid.UUID, PlacedOrder] = field(default_factory=dict)
    venue_seq: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def on(self, connection: AsyncConnection[Any]) -> "CellBooks":
        """The same books, in a copy of the database that they were played in."""
        again = CellBooks(connection, self.seed, list(self.users), copy.deepcopy(self.orders), self.venue_seq)
        again.random.setstate(self.random.getstate())
        return again

    def new_id(self) -> uuid.UUID:
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    async def open_users(self, count: int, *, cash: int = 1_000_000 * MICROS, shares: int = 10_000 * MICROS) -> None:
        """Users with cash and with shares of every symbol."""
        self.users = sorted(self.new_id() for _ in range(count))
        await self._call("select set_reference_prices_v1(%s, %s, %s)", list(SYMBOLS), list(SYMBOLS.values()), now())
        for user_id in self.users:
            await self._call(
                "select * from open_account_v1(%s, 1, 'professional', %s, null, 'x')",
                user_id,
                f"{user_id}@example.com",
            )
        await self.deposit(self.users, cash)
        for symbol in SYMBOLS:
            await self.transfer(self.users, symbol, shares, self.random.randrange(1_000_000, 300_000_000))

    async def deposit(self, users: Sequence[uuid.UUID], amount: int) -> None:
        for chunk in chunks(users):
            size = len(chunk)
            await self._call(
                "select outcome from deposit_cash_v1(%s, %s, %s, %s)",
                chunk,
                self._keys(size),
                [b"f" * 32] * size,
                [amount] * size,
            )

    async def transfer(self, users: Sequence[uuid.UUID], symbol: str, qty: int, unit_cost: int) -> None:
        for chunk in chunks(users):
            size = len(chunk)
            await self._call(
                "select outcome from transfer_shares_v1(%s, %s, %s, %s, %s, %s, true)",
                chunk,
                self._keys(size),
                [b"f" * 32] * size,
                [symbol] * size,
                [qty] * size,
                [unit_cost] * size,
            )

    async def place(
        self, orders: Sequence[PlacedOrder], client_order_ids: Sequence[str | None] | None = None
    ) -> list[str]:
        """Place at most one order per user; the outcomes. What is accepted has the id that the cell gave it."""
        size = len(orders)
        rows = await self._call(
            "select ordinal, outcome, resource_id from place_orders_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [order.user_id for order in orders],
            self._keys(size),
            [b"f" * 32] * size,
            list(client_order_ids or [None] * size),
            [order.symbol for order in orders],
            [order.side for order in orders],
            ["limit"] * size,
            ["day"] * size,
            [order.leaves for order in orders],
            [order.limit_px for order in orders],
            now(),
            timedelta(hours=1),
        )
        rows.sort()
        for order, (_, outcome, order_id) in zip(orders, rows, strict=True):
            if outcome == "accepted":
                order.order_id = order_id
                self.orders[order_id] = order
        return [outcome for _, outcome, _ in rows]

    async def place_amounts(self, users: Sequence[uuid.UUID], side: str, amount: int) -> list[PlacedOrder]:
        """Market orders by amount; `leaves` of each is what the amount buys at the reference price."""
        size = len(users)
        px = SYMBOLS["AAPL"]
        orders = [PlacedOrder(user, self.new_id(), "AAPL", side, px, amount * MICROS // px) for user in users]
        rows = await self._call(
            "select ordinal, outcome, resource_id from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, "
            "%s, %s::bigint[], %s::bigint[], %s, %s, p_notionals => %s::bigint[])",
            list(users),
            self._keys(size),
            [b"f" * 32] * size,
            [None] * size,
            ["AAPL"] * size,
            [side] * size,
            ["market"] * size,
            ["day"] * size,
            [None] * size,
            [None] * size,
            now(),
            timedelta(hours=1),
            [amount] * size,
        )
        for order, (_, outcome, order_id) in zip(orders, sorted(rows), strict=True):
            assert outcome == "accepted"
            order.order_id = order_id
        return orders

    def random_order(self, user_id: uuid.UUID) -> PlacedOrder:
        symbol = self.random.choice(list(SYMBOLS))
        limit_px = SYMBOLS[symbol] // 10_000 * 10_000 + self.random.randrange(-50, 50) * 10_000
        qty = self.random.choice([self.random.randrange(1, 50) * MICROS, self.random.randrange(1, 3 * MICROS)])
        side = self.random.choice(["buy", "sell"])
        return PlacedOrder(user_id, self.new_id(), symbol, side, limit_px, qty)

    async def route(self) -> int:
        """Claim and thereby send every waiting instruction; how many."""
        sent = 0
        while rows := await self._call("select instruction_id from claim_instructions_v1(%s)", 64):
            sent += len(rows)
        return sent

    async def cancel(self, orders: Sequence[PlacedOrder]) -> list[str]:
        size = len(orders)
        rows = await self._call(
            "select ordinal, outcome from cancel_orders_v1(%s, %s, %s, %s)",
            [order.user_id for order in orders],
            self._keys(size),
            [b"f" * 32] * size,
            [order.order_id for order in orders],
        )
        return [outcome for _, outcome in sorted(rows)]

    async def replace(
        self, orders: Sequence[PlacedOrder], *, qty_ppm: int = 1_000_000, px_change: int = 0
    ) -> list[str]:
        """Replace by `qty_ppm` of the whole at another price; who is accepted becomes the new order."""
        size = len(orders)
        wholes = [max(1, (o.leaves + o.filled) * qty_ppm // MICROS) for o in orders]
        rows = await self._call(
            "select ordinal, outcome, resource_id, (figures ->> 'order_qty_micros')::bigint "
            "from replace_orders_v1(%s, %s, %s, %s, %s::integer[], %s::bigint[], %s::bigint[], "
            "%s::bigint[], %s::text[], %s)",
            [order.user_id for order in orders],
            self._keys(size),
            [b"f" * 32] * size,
            [order.order_id for order in orders],
            [None] * size,
            wholes,
            [order.limit_px + px_change for order in orders],
            [None] * size,
            [None] * size,
            now(),
        )
        rows.sort()
        for order, (_, outcome, new_id, leaves) in zip(orders, rows, strict=True):
            if outcome == "accepted":
                order.replaced.append(order.order_id)
                order.order_id, order.leaves, order.filled = new_id, leaves, 0
                order.limit_px += px_change
                self.orders[new_id] = order
        return [outcome for _, outcome, *_ in rows]

    def fill(self, order: PlacedOrder, qty: int | None = None, price: int | None = None) -> dict[str, object]:
        """The venue's report of a fill, by default of all that is left, at the limit or a little better."""
        qty = qty or order.leaves
        better = self.random.randrange(0, 30) * 100
        price = price or order.limit_px + (better if order.side == "sell" else -better)
        order.leaves -= qty
        order.filled += qty
        order.fills += 1
        order.last_exec_id = f"{order.order_id}-{order.fills}"
        return self.report("fill", order, exec_id=order.last_exec_id, last_qty=qty, last_px=price)

    def revise(self, order: PlacedOrder, kind: str, **reported: object) -> dict[str, object]:
        """The venue's report that the last fill does not stand (`bust`), or not as it was reported (`correct`)."""
        ref, order.fills = order.last_exec_id, order.fills + 1
        return self.report(kind, order, exec_id=f"{order.order_id}-{order.fills}", exec_ref_id=ref, **reported)

    def report(self, kind: str, order: PlacedOrder, **fields: object) -> dict[str, object]:
        order.ended = order.ended or kind in ("cancelled", "rejected", "expired")
        body = {"kind": kind, "trade_date": "2026-11-20", "at": now().isoformat(), "order_id": str(order.order_id)}
        return body | fields

    async def tell(self, reports: Iterable[dict[str, object]]) -> list[str]:
        """Commit reports to the inbox and apply them, in order; the outcomes."""
        outcomes: list[str] = []
        for chunk in chunks(list(reports)):
            first = self.venue_seq + 1
            self.venue_seq += len(chunk)
            rows = await self._call(
                "select inbox_id from accept_reports_v1(%s, %s, %s, %s, %s, %s) order by inbox_id",
                VENUE,
                SESSION,
                list(range(first, self.venue_seq + 1)),
                [uuid.UUID(str(body["order_id"])) for body in chunk],
                [Jsonb(body) for body in chunk],
                now(),
            )
            outcomes += await self._apply([row[0] for row in rows])
        return outcomes

    async def _apply(self, inbox_ids: list[int]) -> list[str]:
        outcomes: dict[int, str] = {}
        waiting, rounds_in_vain = inbox_ids, 0
        while waiting:
            rows = await self._call(
                "select inbox_id, outcome from apply_reports_v1(%s, %s)",
                waiting,
                date(2026, 11, 23),
            )
            outcomes |= dict(rows)
            still = [inbox_id for inbox_id, outcome in rows if outcome in ("deferred", "returned")]
            # a report that shows a replacement to be live is deferred once: the confirmation came first
            rounds_in_vain = rounds_in_vain + 1 if {outcome for _, outcome in rows} == {"deferred"} else 0
            assert rounds_in_vain < 2, "no report of the batch could be applied"
            waiting = still
        return [outcomes[inbox_id] for inbox_id in inbox_ids]

    async def play(self, order_count: int) -> None:
        """A trading day in small: rounds of orders, routed, and met by the venue in every way it has."""
        placed = 0
        while placed < order_count:
            users = self.random.sample(self.users, min(BATCH, len(self.users), order_count - placed))
            batch = [self.random_order(user_id) for user_id in sorted(users)]
            placed += len(batch)
            await self.place(batch)
            live = [order for order in batch if order.order_id in self.orders]
            early = [order for order in live if self.random.random() < 0.05]
            await self.cancel(early)  # before the venue has seen them: ended at once
            await self.route()
            live = [order for order in live if order not in early]
            await self.tell(self.report("accepted", order, venue_order_id=f"v{order.order_id}") for order in live)
            await self._meet(live)

    async def _meet(self, live: list[PlacedOrder]) -> None:
        """Two thirds of the orders trade; the rest is cancelled, rejected, expires or stays."""
        by_fate: dict[str, list[PlacedOrder]] = {}
        for order in live:
            fates = ["fill"] * 6 + ["pieces"] * 3 + ["cancel", "late", "reject", "expire", "stay", "refuse"]
            fates += ["bust", "correct", "replace", "replace refused", "replace pending"]
            by_fate.setdefault(self.random.choice(fates), []).append(order)
        await self.tell(self.fill(order) for order in by_fate.get("fill", []))
        pieces = by_fate.get("pieces", [])
        for _ in range(3):
            await self.tell(self.fill(order, max(1, order.leaves // 3)) for order in pieces if order.leaves)
        leaving = by_fate.get("cancel", []) + by_fate.get("late", []) + by_fate.get("refuse", [])
        await self.tell(self.fill(order, max(1, order.leaves // 2)) for order in leaving if order.leaves > 1)
        await self.cancel(leaving)
        await self.route()
        for kind, fate in [("cancelled", "cancel"), ("cancelled", "late"), ("cancel_rejected", "refuse")]:
            await self.tell(self.report(kind, order) for order in by_fate.get(fate, []))
        await self.tell(self.fill(order) for order in by_fate.get("late", []) if order.leaves)
        await self.tell(self.fill(order) for order in by_fate.get("bust", []) + by_fate.get("correct", []))
        await self.tell(self.revise(order, "bust") for order in by_fate.get("bust", []))
        await self.tell(
            self.revise(order, "correct", last_qty=order.filled, last_px=order.limit_px)
            for order in by_fate.get("correct", [])
        )
        await self._meet_replacements(by_fate)
        await self.tell(self.report("rejected", order, reason="no") for order in by_fate.get("reject", []))
        await self.tell(self.report("expired", order) for order in by_fate.get("expire", []))

    async def _meet_replacements(self, by_fate: dict[str, list[PlacedOrder]]) -> None:
        done, refused, pending = (by_fate.get(f, []) for f in ("replace", "replace refused", "replace pending"))
        everybody = sorted(done + refused + pending, key=lambda order: order.user_id)
        await self.tell(self.fill(order, max(1, order.leaves // 3)) for order in everybody if order.leaves > 1)
        for qty_ppm, some in ((1_500_000, everybody[::2]), (800_000, everybody[1::2])):
            if some:
                await self.replace(some, qty_ppm=qty_ppm, px_change=10_000)
        await self.route()
        await self.tell(self.report("replaced", order) for order in done if order.replaced)
        await self.tell(self.fill(order, max(1, order.leaves // 2)) for order in done if order.replaced)
        await self.tell(self.report("replace_rejected", order) for order in refused if order.replaced)

    def _keys(self, count: int) -> list[str]:
        return [self.new_id().hex for _ in range(count)]

    async def _call(self, query: str, *parameters: object) -> list[Any]:
        return await (await self.connection.execute(query, parameters)).fetchall()


def now() -> datetime:
    return datetime.now(UTC)


def chunks(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    for start in range(0, len(items), BATCH):
        yield list(items[start : start + BATCH])
