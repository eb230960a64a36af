"""Paper trading: what happens to an order is a pure function of the seed, its terms, the last price and the moment.

A marketable limit order fills completely about two times in three, usually in two to four parts within a few hundred
milliseconds; one in seven fills in part and then rests; the others rest, so that a cancel has something to do. Orders
that come as `market`, or whose limit lies far through the price (a collar), always fill. What is not marketable waits
for the price to reach its limit. A fill is never worse than the limit. Nothing here knows a clock, a socket or a file.
"""

from typing import Final, Literal

import msgspec

from exchange.faults import MILLION, Draws, Faults, draw_ppm, occurs
from exchange.prices import round_to_tick
from exchange.wire import Submit

WHOLE_SHARE: Final = 1_000_000
"""In micro-shares."""
FILLS_COMPLETELY_PPM: Final = 660_000
FILLS_IN_PART_PPM: Final = 140_000
"""Of marketable limit orders; the rest of them rests, so that cancels find something."""
COLLAR_PPM: Final = 30_000
"""A limit this far through the price always fills, as a market order does: so far reaches the cells' own collar."""
SLIP_PPM_MAX: Final = 400
"""How much worse than the last price a fill may be, within the limit."""
PARTS_MAX: Final = 4
"""Fills of one order."""
FIRST_FILL_US: Final = (3_000, 60_000)
NEXT_FILL_US: Final = (8_000, 90_000)
"""After the acceptance, and after the fill before: a whole order within 400 ms, so that nobody waits for paper."""
QTY_MAX: Final = 10**15
"""Micro-shares of one order: a thousand million shares."""
PX_MAX: Final = 10**12
"""Micro-dollars: a million dollars a share."""
CASH_MAX: Final = 10**16
"""Micro-dollars of an order by amount; with it every product fits what SQLite and JSON carry exactly."""
MICROS: Final = 1_000_000
"""In a share or a dollar."""
USED_UP: Final = "the amount is used up"
"""The reason of the fill after which the rest of an amount buys no micro-share."""

StepKind = Literal["accepted", "rejected", "fill", "cancelled", "expired", "bust", "correct", "reduce"]
"""`bust` and `correct` name in `reason` the execution that they take back; `reduce` waits for a replacement (tapes)."""


class Step(msgspec.Struct, frozen=True, array_like=True):
    """Something that will happen to an order at a moment."""

    at_us: int
    kind: StepKind
    qty: int = 0
    px: int = 0
    reason: str | None = None
    was_px: int = 0
    """Of a correction: the price that it corrects."""


class Plan(msgspec.Struct, frozen=True):
    """Everything that will happen, unless somebody cancels; `waits` for its price when nothing more is planned."""

    steps: tuple[Step, ...]
    waits: bool = False


def is_marketable(side: str, limit_px: int, last_px: int) -> bool:
    """Whether an order could trade at the last price."""
    return limit_px >= last_px if side == "buy" else limit_px <= last_px


def refusal_of(order: Submit) -> str | None:
    """Why the terms alone make the order impossible."""
    if order.cash_qty is not None:
        if not 0 < order.cash_qty <= CASH_MAX:
            return f"amount {order.cash_qty} is outside 1 to {CASH_MAX} micro-dollars"
        if order.limit_px is None:
            return "an order by amount needs a limit price"
    if not (0 if order.cash_qty is not None else 1) <= order.order_qty <= QTY_MAX:
        return f"order quantity {order.order_qty} is outside 1 to {QTY_MAX} micro-shares"
    if order.limit_px is None:
        return None if order.ord_type == "market" else "a limit order needs a limit price"
    if not 0 < order.limit_px <= PX_MAX:
        return f"limit price {order.limit_px} is outside 1 to {PX_MAX} micro-dollars"
    return None


def worst_px(order: Submit) -> int:
    """The price that no fill of this order may be worse than."""
    if order.limit_px is not None:
        return order.limit_px
    return PX_MAX if order.side == "buy" else 1


def plan_order(seed: int, order: Submit, *, last_px: int, at_us: int, faults: Faults) -> Plan:
    """What becomes of a new order."""
    start_us = at_us + faults.latency_ms * 1_000
    if occurs(seed, "reject", order.cl_ord_id, faults.reject_rate):
        return Plan((Step(start_us, "rejected", reason="broker option"),))
    accepted = Step(start_us, "accepted")
    immediate = order.time_in_force in ("ioc", "fok")
    if not is_marketable(order.side, worst_px(order), last_px):
        if immediate:
            return Plan((accepted, _end(start_us, order.time_in_force)))
        return Plan((accepted,), waits=True)
    size, whole = _size_that_trades(seed, order, last_px), size_of(order)
    if order.time_in_force == "fok" and size < whole:
        return Plan((accepted, _end(start_us, "fok")))
    fills = _fills(seed, order, size=size, last_px=last_px, start_us=start_us)
    if immediate and size < whole:
        last_us = fills[-1].at_us if fills else start_us
        return Plan((accepted, *fills, _end(last_us, order.time_in_force)))
    return Plan((accepted, *fills))


def plan_crossing(seed: int, order: Submit, *, leaves_qty: int, at_us: int) -> tuple[Step, ...]:
    """The fills of a waiting order whose limit the price has reached: at its limit, as a resting order's are."""
    draws = Draws(seed, "crossing", order.cl_ord_id)
    steps = []
    moment_us = at_us
    for qty in split_quantity(leaves_qty, 1 + draws.below(3), draws):
        moment_us += _between(draws, NEXT_FILL_US)
        steps.append(Step(moment_us, "fill", qty, worst_px(order)))
    return tuple(_marked(order, steps))


def split_quantity(qty: int, parts: int, draws: Draws) -> list[int]:
    """Cut a quantity into positive parts that add up to it; in whole shares when there are enough of them."""
    unit = WHOLE_SHARE if qty % WHOLE_SHARE == 0 and qty >= parts * WHOLE_SHARE else 1
    units = qty // unit
    parts = min(parts, units)
    sizes = []
    for remaining_parts in range(parts, 1, -1):
        # between half and one and a half times an equal share of what is left
        share = max(1, units * (500_000 + draws.below(MILLION)) // (MILLION * remaining_parts))
        size = min(share, units - (remaining_parts - 1))
        sizes.append(size * unit)
        units -= size
    return [*sizes, units * unit]


def size_of(order: Submit) -> int:
    """What an order is for: micro-shares, or the micro-dollars of one by amount."""
    return order.order_qty if order.cash_qty is None else order.cash_qty


def _size_that_trades(seed: int, order: Submit, last_px: int) -> int:
    whole = size_of(order)
    through_ppm = abs(worst_px(order) - last_px) * MILLION // last_px
    if order.ord_type == "market" or through_ppm >= COLLAR_PPM:
        return whole
    lot = draw_ppm(seed, "outcome", order.cl_ord_id)
    if lot < FILLS_COMPLETELY_PPM:
        return whole
    if lot >= FILLS_COMPLETELY_PPM + FILLS_IN_PART_PPM:
        return 0
    # between a fifth and four fifths
    share_ppm = 200_000 + draw_ppm(seed, "part", order.cl_ord_id) * 6 // 10
    size = whole * share_ppm // MILLION
    return size // WHOLE_SHARE * WHOLE_SHARE if whole % WHOLE_SHARE == 0 else size


def _fills(seed: int, order: Submit, *, size: int, last_px: int, start_us: int) -> list[Step]:
    if size == 0:
        return []
    draws = Draws(seed, "fills", order.cl_ord_id)
    # four of ten orders are filled at once
    parts = 1 if order.time_in_force == "fok" or draws.below(100) < 40 else 2 + draws.below(PARTS_MAX - 1)
    moment_us = start_us
    fills = []
    sizer = PartSizer(order)
    for number, part in enumerate(split_quantity(size, parts, draws)):
        moment_us += _between(draws, NEXT_FILL_US if number else FIRST_FILL_US)
        px = _fill_px(order, last_px, draws.below(SLIP_PPM_MAX + 1))
        qty = sizer.take(part, px)
        if qty:
            fills.append(Step(moment_us, "fill", qty, px))
    return _marked(order, fills) if size == size_of(order) else fills


def _marked(order: Submit, fills: list[Step]) -> list[Step]:
    if order.cash_qty is not None and fills:
        fills[-1] = msgspec.structs.replace(fills[-1], reason=USED_UP)
    return fills


class PartSizer:
    """Turns parts of an order's size into quantities. What an amount leaves over in one part goes into the next."""

    def __init__(self, order: Submit) -> None:
        self._is_cash = order.cash_qty is not None
        self._cap = order.order_qty or QTY_MAX
        self._unspent = 0  # in 1e-12 dollars

    def take(self, part: int, px: int) -> int:
        """The quantity that a part comes to at a price."""
        if not self._is_cash:
            return part
        self._unspent += part * MICROS
        qty = min(self._unspent // px, self._cap)
        self._cap -= qty
        self._unspent -= qty * px
        return qty


def _fill_px(order: Submit, last_px: int, slip_ppm: int) -> int:
    if order.side == "buy":
        return min(worst_px(order), round_to_tick(last_px + last_px * slip_ppm // MILLION))
    return max(worst_px(order), round_to_tick(last_px - last_px * slip_ppm // MILLION))


def _end(at_us: int, time_in_force: str) -> Step:
    return Step(at_us, "cancelled", reason=f"{time_in_force}: the rest could not trade at once")


def _between(draws: Draws, bounds: tuple[int, int]) -> int:
    return bounds[0] + draws.below(bounds[1] - bounds[0])
