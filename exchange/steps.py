"""What a step does to its order when its time has come, and what is reported of it.

Never: a fill beyond the quantity, a fill worse than the limit, an exec id for two fills.
"""

from typing import Final

from exchange.faults import SeededRandom
from exchange.live_order import LiveOrder, exec_id_of
from exchange.orders import LiveOrders
from exchange.paper import QTY_MAX, Step, worst_px
from exchange.prices import PriceBoard
from exchange.reports import Reports
from exchange.wire import ReportKind

LATE_FILL_AFTER_US: Final = 40_000
"""After the confirmed cancel: late enough to be a report of its own, soon enough for a test to wait for."""
REVISED_AFTER_US: Final = 60_000
"""After the fill: the cell has applied it by then, so the revision meets settled books."""
CENT: Final = 10_000
"""In micro-dollars: how far a correction goes."""


class Steps:
    """Takes the steps of all orders."""

    def __init__(self, orders: LiveOrders, reports: Reports, prices: PriceBoard, random: SeededRandom) -> None:
        self._orders = orders
        self._reports = reports
        self._prices = prices
        self._random = random
        self.fill_count = 0

    def run_due(self, order: LiveOrder, due_us: int, now_us: int) -> None:
        """Take every step that is due; one that waits for a replacement does not come by itself."""
        while order.steps and order.steps[0].at_us <= due_us and order.steps[0].kind != "reduce":
            self.take_next(order, now_us)

    def take_next(self, order: LiveOrder, now_us: int) -> None:
        """Take the first of its steps, whenever it was planned for."""
        step, order.steps = order.steps[0], order.steps[1:]
        self._orders.touch(order)
        if step.kind == "fill":
            self._fill(order, step, now_us)
        elif step.kind == "bust" or step.kind == "correct":
            self._revise(order, step, step.kind, now_us)
        elif step.kind == "reduce":
            return
        elif step.kind == "accepted":
            if not self._random.occurs("lost_ack", order.terms.cl_ord_id, self._random.faults.lost_ack_rate):
                self._reports.add(order, "accepted", order.session, now_us)
        else:
            self._orders.set_status(order, step.kind)
            order.waits = False
            self._reports.add(order, step.kind, order.session, now_us, reason=step.reason)

    def _fill(self, order: LiveOrder, step: Step, now_us: int) -> None:
        terms = order.terms
        is_complete = order.completed_by((step,))
        order.trade(step.qty, step.qty * step.px)
        assert order.cum_qty <= (terms.order_qty or QTY_MAX), f"{terms.cl_ord_id} would be overfilled"
        assert order.unspent >= 0, f"{terms.cl_ord_id} would trade for more than its amount"
        if is_complete:
            self._orders.set_status(order, "filled")
        elif not order.ended:
            self._orders.set_status(order, "partially_filled")
        if order.tape_key is not None:
            self._prices.set_last(terms.symbol, step.px, now_us)
        self.fill_count += 1
        self._reports.add(order, "fill", order.session, now_us, last_qty=step.qty, last_px=step.px)
        noisy = self._random.faults.noisy_duplicate_rate
        if self._random.occurs("noisy", f"{terms.cl_ord_id}:{order.fill_count}", noisy):
            # a cent more than the fill of that name
            self._reports.add(order, "fill", order.session, now_us, last_qty=step.qty, last_px=step.px + 10_000)
        if order.tape_key is None:
            self._plan_revision(order, step, now_us)

    def plan_late_fill(self, order: LiveOrder, leaves_qty: int, now_us: int) -> None:
        """Let half of what was left trade a moment after the end."""
        qty = max(1, leaves_qty // 2_000_000 * 1_000_000)  # in whole shares, where there are two
        px = order.terms.limit_px or self._prices.px_micros(order.terms.symbol, now_us)
        step = Step(now_us + LATE_FILL_AFTER_US, "fill", qty, px)
        order.steps = tuple(sorted((*order.steps, step), key=lambda planned: planned.at_us))

    def _plan_revision(self, order: LiveOrder, fill: Step, now_us: int) -> None:
        """Let the fill be taken back or corrected a moment later, if the faults say so."""
        name, at_us, ref = f"{order.terms.cl_ord_id}:{order.fill_count}", now_us + REVISED_AFTER_US, exec_id_of(order)
        if self._random.occurs("bust", name, self._random.faults.bust_rate):
            step = Step(at_us, "bust", fill.qty, fill.px, ref)
        elif self._random.occurs("correct", name, self._random.faults.correct_rate):
            better_px = max(CENT, fill.px - CENT) if order.terms.side == "buy" else fill.px + CENT
            if order.terms.cash_qty is not None:  # a higher price would make it more than the amount
                better_px = fill.px - CENT
                if better_px < (1 if order.terms.side == "buy" else worst_px(order.terms)):
                    return
            step = Step(at_us, "correct", fill.qty, better_px, ref, fill.px)
        else:
            return
        order.steps = tuple(sorted((*order.steps, step), key=lambda planned: planned.at_us))

    def _revise(self, order: LiveOrder, step: Step, kind: ReportKind, now_us: int) -> None:
        """A bust ends nothing but a complete fill: what it takes back from an open order is open again."""
        if kind == "correct":
            order.trade(0, step.qty * (step.px - step.was_px))
        else:
            order.trade(-step.qty, -step.qty * step.px)
            if order.ord_status == "filled":
                self._orders.set_status(order, "cancelled")
            elif not order.ended:
                self._orders.set_status(order, "partially_filled" if order.cum_qty else "new")
        self._reports.add(
            order, kind, order.session, now_us, last_qty=step.qty, last_px=step.px, reason=kind, exec_ref_id=step.reason
        )
