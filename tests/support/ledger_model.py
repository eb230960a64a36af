"""What the books of one customer must be, in plain Python: no SQL, no code of the cell.

Amounts are integers of micros, exact values are Fractions. Rules from `design`: a hold rounds up, a fill posts
round-half-even of the cumulative exact cost minus what was posted, the world's reports always post.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

MICROS = 1_000_000
UNSEEN = {"armed", "queued", "funds_held"}
"""What the venue has not heard of ends at once."""
ENDED = {"filled", "cancelled", "expired", "rejected"}


def half_even(value: Fraction) -> int:
    return round(value)  # Python's round of a Fraction is half to even


def collar(px: int) -> int:
    """5 % above, down to a whole cent (from a dollar on) or hundredth of a cent."""
    tick = 10_000 if px >= MICROS else 100
    return max(px * 105 // 100, 100) // tick * tick


@dataclass
class ModelOrder:
    symbol: str
    side: str
    qty: int
    hold_px: int
    stop_px: int | None = None
    status: str = "funds_held"
    cum: int = 0
    exact: Fraction = Fraction(0)
    posted: int = 0
    held: int = 0
    fills: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def leaves(self) -> int:
        return self.qty - self.cum


@dataclass
class ModelPosition:
    qty: int = 0
    held: int = 0
    basis: int = 0


@dataclass
class ModelAccount:
    """One customer."""

    cash: int = 0
    cash_held: int = 0
    restricted: bool = False
    positions: dict[str, ModelPosition] = field(default_factory=dict)
    orders: dict[str, ModelOrder] = field(default_factory=dict)
    keys: dict[str, tuple[object, str]] = field(default_factory=dict)
    """key -> (the command it was used with, its outcome)"""

    def position(self, symbol: str) -> ModelPosition:
        return self.positions.setdefault(symbol, ModelPosition())

    def once(self, key: str, command: object, outcome: str) -> str:
        """What the first use of a key fixes for ever."""
        known = self.keys.get(key)
        if known is not None:
            return known[1] if known[0] == command else "IDEMPOTENCY_KEY_REUSED"
        self.keys[key] = (command, outcome)
        return outcome

    def is_new(self, key: str) -> bool:
        return key not in self.keys

    def deposit(self, amount: int) -> None:
        self.cash += amount

    def take_shares(self, symbol: str, qty: int, unit_cost: int) -> None:
        position = self.position(symbol)
        owned = min(qty, max(0, position.qty + qty))  # what gives back owed shares costs nothing
        position.qty += qty
        position.basis += half_even(Fraction(owned * unit_cost, MICROS))

    def judge(self, symbol: str, side: str, qty: int, hold_px: int) -> str:
        if self.restricted and side == "buy" and qty > self._owed(symbol):
            return "ACCOUNT_RESTRICTED"
        if side == "buy":
            return "accepted" if ceil(Fraction(qty * hold_px, MICROS)) <= self.cash else "INSUFFICIENT_BUYING_POWER"
        position = self.position(symbol)
        return "accepted" if qty <= position.qty - position.held else "INSUFFICIENT_SHARES"

    def _owed(self, symbol: str) -> int:
        """Shares that the customer owes and has not ordered yet."""
        ordered = sum(
            order.leaves
            for order in self.orders.values()
            if order.symbol == symbol and order.side == "buy" and order.status not in ENDED
        )
        return max(0, -self.position(symbol).qty - ordered)

    def place(self, order_id: str, order: ModelOrder) -> None:
        if order.side == "buy":
            order.held = ceil(Fraction(order.qty * order.hold_px, MICROS))
            self.cash -= order.held
            self.cash_held += order.held
        else:
            order.held = order.qty
            self.position(order.symbol).held += order.held
        self.orders[order_id] = order

    def is_reached(self, order: ModelOrder, last_px: int) -> bool:
        assert order.stop_px is not None
        return last_px >= order.stop_px if order.side == "buy" else last_px <= order.stop_px

    def hear_price(self, symbol: str, last_px: int) -> int:
        """Armed stops that the price reaches go on their way; how many."""
        triggered = 0
        for order in self.orders.values():
            if order.status == "armed" and order.symbol == symbol and self.is_reached(order, last_px):
                order.status = "funds_held"
                triggered += 1
        return triggered

    def end(self, order: ModelOrder, status: str) -> None:
        self._release(order, order.held)
        order.status = status

    def _release(self, order: ModelOrder, amount: int) -> None:
        order.held -= amount
        if order.side == "buy":
            self.cash += amount
            self.cash_held -= amount
        else:
            self.position(order.symbol).held -= amount

    def cancel(self, order: ModelOrder) -> str:
        if order.status in UNSEEN:
            self.end(order, "cancelled")
            return "cancelled"
        if order.status in ENDED:
            return "ORDER_NOT_OPEN"
        order.status = "pending_cancel"
        return "pending_cancel"

    def fill(self, order: ModelOrder, exec_id: str, qty: int, px: int) -> str:
        known = order.fills.get(exec_id)
        if known is not None:
            return "duplicate" if known == (qty, px) else "quarantined"
        if order.cum + qty > order.qty:
            return "quarantined"
        order.fills[exec_id] = (qty, px)
        order.cum += qty
        order.exact += Fraction(qty * px, MICROS)
        cost = half_even(order.exact) - order.posted
        order.posted += cost
        position = self.position(order.symbol)
        had_ended = order.status in ENDED
        if order.cum == order.qty:
            order.status = "filled"
        elif not had_ended and order.status != "pending_cancel":
            order.status = "partially_filled"
        if order.side == "buy":
            keep = 0
            if order.status not in ENDED:
                keep = min(
                    order.held, ceil(order.exact + Fraction(order.leaves * order.hold_px, MICROS)) - order.posted
                )
            self._release(order, order.held - keep)
            self.cash -= cost
            owned = min(qty, max(0, position.qty + qty))
            position.qty += qty
            position.basis += half_even(Fraction(cost * owned, qty))
        else:
            self._release(order, min(order.held, qty))
            if position.qty <= qty:
                position.basis = 0
            else:
                position.basis -= half_even(Fraction(position.basis * qty, position.qty))
            position.qty -= qty
            self.cash += cost
            self.restricted |= position.qty - position.held < 0
        self.restricted |= self.cash < 0
        return "applied"
