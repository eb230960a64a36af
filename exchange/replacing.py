"""What may take an order's place, and what the new order takes over from the old one.

Pure: the book decides when, reports it, and makes it durable.
"""

from typing import Final

import msgspec

from exchange.faults import Faults, occurs
from exchange.live_order import LiveOrder
from exchange.paper import plan_order
from exchange.prices import PriceBoard
from exchange.tape import FILL_GAP_US
from exchange.wire import Replace, Submit

REVISIONS: Final = frozenset({"bust", "correct"})


def refusal_of_replacement(old: LiveOrder | None, request: Replace, *, seed: int, faults: Faults) -> str | None:
    """Why the order cannot be replaced so."""
    if old is None:
        return "unknown order"
    if old.ended:
        return f"too late: the order is {old.ord_status}"
    if old.terms.cash_qty is not None:
        return "an order by amount cannot be replaced"
    if request.order_qty <= old.cum_qty:
        return "nothing would be left of the order"
    if old.tape_key is not None:
        return _difference_from_reduction(old, request)
    if occurs(seed, "replace_refused", request.cl_ord_id, faults.replace_refused_rate):
        return "broker option"
    return None


def _difference_from_reduction(order: LiveOrder, request: Replace) -> str | None:
    """A tape order may only become smaller, by what the tape says where the tape waits for it."""
    less = order.terms.order_qty - request.order_qty
    wanted = order.steps[0].qty if order.steps and order.steps[0].kind == "reduce" else None
    if request.limit_px != order.terms.limit_px:
        return f"the tape's order has the limit {order.terms.limit_px} micro-dollars, not {request.limit_px}"
    if less < 0 or (wanted is not None and less != wanted):
        return f"the tape takes {wanted or 0} micro-shares off the order, not {less}"
    return None


def terms_of_replacement(old: LiveOrder, request: Replace) -> Submit:
    """The new order: what was asked for, less what the old one has filled."""
    return Submit(
        cl_ord_id=request.cl_ord_id,
        account=old.terms.account,
        symbol=old.terms.symbol,
        side=old.terms.side,
        order_qty=request.order_qty - old.cum_qty,
        limit_px=request.limit_px,
        time_in_force=request.time_in_force,
        ord_type=old.terms.ord_type,
        client_order_id=old.terms.client_order_id,
        replaces=request.orig_cl_ord_id,
    )


def hand_over(old: LiveOrder, new: LiveOrder, *, seed: int, faults: Faults, prices: PriceBoard, now_us: int) -> None:
    """The rest goes on as the tape says, on paper by a new plan. Revisions stay with their fills."""
    if old.tape_key is not None:
        new.tape_key = old.tape_key
        rest = old.steps[1:] if old.steps and old.steps[0].kind == "reduce" else old.steps
        new.steps = tuple(
            msgspec.structs.replace(step, at_us=now_us + FILL_GAP_US * number)
            for number, step in enumerate(rest, start=1)
        )
        old.steps = ()
    else:
        last_px = prices.px_micros(new.terms.symbol, now_us)
        # it was taken: what could refuse it has spoken, and an order that took another's place is not rejected any more
        taken = msgspec.structs.replace(faults, reject_rate=0.0)
        plan = plan_order(seed, new.terms, last_px=last_px, at_us=now_us, faults=taken)
        new.steps = tuple(step for step in plan.steps if step.kind != "accepted")
        new.waits = plan.waits
        old.steps = tuple(step for step in old.steps if step.kind in REVISIONS)
    old.waits = False
