"""From tape rows to what N customers do and what must come of it. Pure: no clock, no network, no files.

Customer i mod N owns the i-th new order. The tape says what happens to each order, so the plan also holds the
expected end: state, fills in order, cost. Rows that contradict each other (an id submitted twice, more executed
than is left, an event after the order's end) make a tape that nobody can play; they are refused with the line.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from loadtests.replay.tape_file import NAMES_AN_ORDER, RowKind, TapeRefused, TapeRow

MICROS_PER_TAPE_PRICE = 100  # dollars x 10,000 -> micro-dollars
MICROS_PER_SHARE = 1_000_000


class Action(Enum):
    PLACE = "place"
    CANCEL = "cancel"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class TapeFill:
    line: int
    size: int
    price_micros: int


@dataclass(slots=True)
class TapeOrder:
    """One order of the tape; complete once the whole tape was read."""

    tape_id: int
    line: int
    customer: int
    side: str
    size: int
    price_micros: int
    fills: list[TapeFill] = field(default_factory=list)
    cancelled_at_line: int | None = None
    reductions: list[tuple[int, int]] = field(default_factory=list)
    """(fills before it, size) of each partial cancellation (type 2) that leaves something: the order is replaced."""
    taken_off: int = 0

    @property
    def filled(self) -> int:
        return sum(fill.size for fill in self.fills)

    @property
    def cost_micros(self) -> int:
        return sum(fill.size * fill.price_micros for fill in self.fills)

    @property
    def left_on_tape(self) -> int:
        return self.size - self.filled - self.taken_off

    @property
    def expected_status(self) -> str:
        """Of the order, or of the last one that replaced it."""
        if self.cancelled_at_line is not None:
            return "cancelled"
        if self.left_on_tape == 0:
            return "filled"
        fills_before = self.reductions[-1][0] if self.reductions else 0
        return "partially_filled" if len(self.fills) > fills_before else "routed"

    @property
    def expected_open(self) -> int:
        """Shares that stay in the market at the end."""
        return 0 if self.cancelled_at_line is not None else self.left_on_tape


@dataclass(frozen=True, slots=True)
class Step:
    line: int
    at_ns: int
    action: Action
    order: TapeOrder
    size: int = 0
    """How much a replacement takes off."""


@dataclass(frozen=True, slots=True)
class CustomerPlan:
    """What one customer does, in the tape's order, and what they need to be able to do it."""

    number: int
    steps: tuple[Step, ...]
    buy_cost_micros: int
    sell_size: int

    @property
    def orders(self) -> list[TapeOrder]:
        return [step.order for step in self.steps if step.action is Action.PLACE]


@dataclass(frozen=True, slots=True)
class TapePlan:
    file: str
    orders: tuple[TapeOrder, ...]
    customers: tuple[CustomerPlan, ...]
    began_ns: int
    counted: dict[str, int]

    @property
    def first_price_micros(self) -> int:
        return self.orders[0].price_micros


def plan_tape(rows: list[TapeRow], *, file: str, customers: int) -> TapePlan:
    """Which order of the tape is whose, and what is expected of each. Raises TapeRefused, ValueError."""
    if customers < 1:
        raise ValueError(f"at least one customer is needed, not {customers}")
    orders: dict[int, TapeOrder] = {}
    steps: list[list[Step]] = [[] for _ in range(customers)]
    counted: Counter[str] = Counter()
    for row in rows:
        if row.kind is RowKind.NEW and row.order_id != 0:
            order = _open_order(row, orders, customers, file)
            steps[order.customer].append(Step(row.line, row.at_ns, Action.PLACE, order))
            counted["new"] += 1
            continue
        skipped = _why_skipped(row, orders)
        if skipped is not None:
            counted[skipped] += 1
            continue
        order = orders[row.order_id]
        _follow(order, row, file)
        if order.cancelled_at_line is not None:
            counted["cancelled"] += 1
            steps[order.customer].append(Step(row.line, row.at_ns, Action.CANCEL, order))
        elif row.kind is RowKind.PARTIAL_CANCEL:
            counted["replaced by less"] += 1
            steps[order.customer].append(Step(row.line, row.at_ns, Action.REPLACE, order, row.size))
        else:
            counted["executed"] += 1
    if not orders:
        raise TapeRefused(file, None, "has no new order (type 1) to play")
    return TapePlan(
        file=file,
        orders=tuple(orders.values()),
        customers=tuple(_customer_plan(number, tuple(mine)) for number, mine in enumerate(steps) if mine),
        began_ns=rows[0].at_ns,
        counted=dict(counted),
    )


_NEVER_PLAYED = {
    RowKind.EXECUTE_HIDDEN: "hidden executions (skipped)",
    RowKind.CROSS_TRADE: "cross trades (skipped)",
    RowKind.HALT: "halts (skipped)",
}


def _why_skipped(row: TapeRow, orders: dict[int, TapeOrder]) -> str | None:
    if row.kind not in NAMES_AN_ORDER:
        return _NEVER_PLAYED[row.kind]
    if row.order_id == 0:
        return "order id 0 (skipped)"
    if row.order_id not in orders:
        return "of orders from before the tape (skipped)"
    return None


def _open_order(row: TapeRow, orders: dict[int, TapeOrder], customers: int, file: str) -> TapeOrder:
    known = orders.get(row.order_id)
    if known is not None:
        raise TapeRefused(file, row.line, f"order {row.order_id} was already submitted at line {known.line}")
    price_micros = row.price * MICROS_PER_TAPE_PRICE
    if price_micros >= 1_000_000 and price_micros % 10_000 != 0:
        raise TapeRefused(file, row.line, f"price {row.price} is no whole cent, and at $1 and above only cents trade")
    order = TapeOrder(
        tape_id=row.order_id,
        line=row.line,
        customer=len(orders) % customers,
        side="buy" if row.direction == 1 else "sell",
        size=row.size,
        price_micros=price_micros,
    )
    orders[row.order_id] = order
    return order


def _follow(order: TapeOrder, row: TapeRow, file: str) -> None:
    """One later row of a known order."""
    if order.cancelled_at_line is not None:
        raise TapeRefused(
            file, row.line, f"order {order.tape_id} was already deleted at line {order.cancelled_at_line}"
        )
    if order.left_on_tape == 0:
        raise TapeRefused(file, row.line, f"order {order.tape_id} has nothing left")
    if (row.direction == 1) != (order.side == "buy"):
        raise TapeRefused(file, row.line, f"its direction contradicts line {order.line}: a {order.side} order")
    if row.kind is RowKind.DELETE:
        order.cancelled_at_line = row.line
        return
    if row.size > order.left_on_tape:
        raise TapeRefused(
            file, row.line, f"takes {row.size} of order {order.tape_id}, which has {order.left_on_tape} left"
        )
    if row.kind is RowKind.PARTIAL_CANCEL:
        order.taken_off += row.size
        if order.left_on_tape:
            order.reductions.append((len(order.fills), row.size))
        else:  # nothing is left to replace it by
            order.cancelled_at_line = row.line
        return
    price_micros = row.price * MICROS_PER_TAPE_PRICE
    worse = price_micros > order.price_micros if order.side == "buy" else price_micros < order.price_micros
    if worse:
        raise TapeRefused(file, row.line, f"executes order {order.tape_id} at a worse price than its limit")
    order.fills.append(TapeFill(row.line, row.size, price_micros))


def _customer_plan(number: int, steps: tuple[Step, ...]) -> CustomerPlan:
    mine = [step.order for step in steps if step.action is Action.PLACE]
    return CustomerPlan(
        number=number,
        steps=steps,
        buy_cost_micros=sum(order.size * order.price_micros for order in mine if order.side == "buy"),
        sell_size=sum(order.size for order in mine if order.side == "sell"),
    )
