"""An order in the exchange's memory, and the names and times that follow from it.

Names are derived, never drawn: whoever restarts, and whenever, an order and its executions keep theirs.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

import msgspec

from exchange.log_rows import OrderRow, TapeKey
from exchange.paper import MICROS, USED_UP, Step, worst_px
from exchange.wire import Cancel, Submit

ENDED: Final = frozenset({"filled", "cancelled", "rejected", "expired", "replaced"})


class LiveOrder:
    """An order in memory."""

    __slots__ = (
        "cum_cost",
        "cum_qty",
        "fill_count",
        "ord_status",
        "session",
        "steps",
        "tape_key",
        "terms",
        "venue_order_id",
        "waits",
    )

    def __init__(self, terms: Submit, session: str) -> None:
        self.terms = terms
        self.session = session
        self.venue_order_id = venue_order_id_of(terms.cl_ord_id)
        self.ord_status = "new"
        self.cum_qty = 0
        self.cum_cost: int | None = 0
        """Quantity times price of what stands, in 1e-12 dollars; None: taken over from a log that did not keep it."""
        self.fill_count = 0
        self.steps: tuple[Step, ...] = ()
        self.waits = False
        self.tape_key: TapeKey | None = None

    @classmethod
    def from_row(cls, row: OrderRow) -> "LiveOrder":
        """As the log remembers it."""
        order = cls(row.terms, row.session)
        order.ord_status, order.cum_qty, order.fill_count = row.ord_status, row.cum_qty, row.fill_count
        order.steps, order.waits, order.tape_key = row.steps, row.waits, row.tape_key
        order.cum_cost = row.cum_cost
        return order

    def trade(self, qty: int, cost: int) -> None:
        """One more execution: a fill, or (then less) what a bust or a correction changes."""
        self.fill_count += 1
        self.cum_qty += qty
        if self.cum_cost is not None:
            self.cum_cost += cost

    @property
    def ended(self) -> bool:
        """Nothing is left to trade (a late fill may still be planned)."""
        return self.ord_status in ENDED

    @property
    def leaves_qty(self) -> int:
        """What may still trade; of an order by amount, what the rest buys at its limit."""
        if self.ended:
            return 0
        if self.terms.cash_qty is None:
            return self.terms.order_qty - self.cum_qty
        affordable = max(0, self.unspent) // worst_px(self.terms)
        return min(affordable, self.terms.order_qty - self.cum_qty) if self.terms.order_qty else affordable

    @property
    def unspent(self) -> int:
        """What is left of an amount, in 1e-12 dollars; 0 of an order for a quantity."""
        if self.terms.cash_qty is None:
            return 0
        return self.terms.cash_qty * MICROS - (self.cum_cost or 0)

    def begin_at(self, at_us: int) -> None:
        """Let everything that is planned happen earlier or later, from this moment on."""
        shift_us = at_us - self.steps[0].at_us
        self.steps = tuple(msgspec.structs.replace(step, at_us=step.at_us + shift_us) for step in self.steps)

    def close_day(self, close_us: int) -> bool:
        """What was to happen after the close does not; gtc orders rest from then on. Says whether that changed it."""
        is_gtc = self.terms.time_in_force == "gtc"
        if is_gtc and self.tape_key is not None:
            return False  # a tape says what happens to its orders, and when
        before = self.steps, self.waits
        self.steps = tuple(step for step in self.steps if step.at_us < close_us)
        if not self.completed_by(self.steps) and not any(step.kind in ENDED for step in self.steps):
            if is_gtc:
                self.waits = self.waits or self.steps != before[0]
            else:
                self.waits = False
                self.steps += (Step(close_us, "expired", reason="end of day"),)
        return before != (self.steps, self.waits)

    def completed_by(self, steps: Iterable[Step]) -> bool:
        """Whether nothing is left to trade after these fills; an amount is used up by the fill that was planned so."""
        fills = [step for step in steps if step.kind == "fill"]
        if self.terms.cash_qty is not None:
            return any(step.reason == USED_UP for step in fills)
        return self.cum_qty + sum(step.qty for step in fills) >= self.terms.order_qty

    @property
    def is_unreported(self) -> bool:
        """Nothing was reported of it yet, not even that it was taken."""
        return bool(self.steps) and self.steps[0].kind in ("accepted", "rejected")

    @property
    def live(self) -> bool:
        """Whether it can still change, and so belongs in memory."""
        return not self.ended or bool(self.steps)

    def row(self) -> OrderRow:
        """For the log."""
        return OrderRow(
            terms=self.terms,
            session=self.session,
            venue_order_id=self.venue_order_id,
            ord_status=self.ord_status,
            cum_qty=self.cum_qty,
            fill_count=self.fill_count,
            steps=self.steps,
            waits=self.waits,
            live=self.live,
            tape_key=self.tape_key,
            cum_cost=self.cum_cost,
        )


def exec_id_of(order: LiveOrder) -> str:
    """The name of its latest execution."""
    return f"{order.venue_order_id}-{order.fill_count}"


def venue_order_id_of(cl_ord_id: str) -> str:
    """The venue's own name of an order: derived, so no restart can name it anew."""
    return "X" + blake2b(cl_ord_id.encode(), digest_size=10).hexdigest().upper()


def rfc3339(at_us: int) -> str:
    """A moment in UTC with microseconds and `Z`."""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def unknown_order(request: Cancel, session: str) -> LiveOrder:
    """An order that never came, for the report that refuses a request about it."""
    order = LiveOrder(Submit(request.cl_ord_id, request.account, "", "buy", 0, 0), session)
    order.ord_status = "rejected"
    return order
