"""The exchange's orders: what a submit, a cancel, a status question, a moment or a price change makes of them.

Synchronous and single-threaded; it talks to nobody. Every effect collects in a batch (`take_batch`) that the caller
makes durable before anyone hears of it. Ids are derived, not drawn: a venue order id from the order's ClOrdID, an
exec id from it and the number of the fill, and plans are stored with their order. So a restart goes on exactly where
the log ends.

Never: an order that is forgotten, or planned a second time.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from exchange.faults import Faults, SeededRandom
from exchange.hours import ALWAYS, TradingHours
from exchange.live_order import LiveOrder, unknown_order
from exchange.log_rows import Batch, OrderRow, TapeKey, TapeRow
from exchange.orders import LiveOrders
from exchange.paper import plan_crossing, refusal_of
from exchange.planning import Planner
from exchange.playing import PlayedTapes
from exchange.prices import PriceBoard
from exchange.replacing import REVISIONS, hand_over, refusal_of_replacement, terms_of_replacement
from exchange.reports import Reports
from exchange.schedule import Schedule
from exchange.steps import Steps
from exchange.tape import Tape
from exchange.wire import Cancel, Replace, Status, Submit

DUE_STEPS_MAX: Final = 2_000
"""In one call of `advance`: after a long stop thousands of steps are due, and cells must be read in between."""
CLOSED_THROUGH: Final = "closed_through_us"


class Book:
    """All live orders, the numbers of all sessions, and the loaded tapes."""

    def __init__(
        self,
        seed: int,
        prices: PriceBoard,
        *,
        find_order: Callable[[str], OrderRow | None],
        faults: Faults | None = None,
        hours: TradingHours = ALWAYS,
        closed_through_us: int = 0,
    ) -> None:
        self._random = SeededRandom(seed, faults or Faults())
        self._prices = prices
        self.tapes = PlayedTapes()
        self.reports = Reports(self._random)
        self.orders = LiveOrders(find_order)
        self._schedule = Schedule()
        self._planner = Planner(prices, hours, self.tapes, self._random)
        self._steps = Steps(self.orders, self.reports, prices, self._random)
        self._batch = Batch()
        self._hours = hours
        self._next_close_us = hours.close_after(closed_through_us)
        if self._next_close_us is not None:  # known from the first start on, or a first day could stay open for ever
            self._batch.facts.append((CLOSED_THROUGH, str(closed_through_us)))
        self._requests = {"submits": 0, "cancels": 0, "replaces": 0}

    def restore(
        self,
        orders: Iterable[OrderRow],
        sessions: Iterable[tuple[str, int, int]],
        tapes: Iterable[Tape],
        taken: Mapping[TapeKey, str],
        orders_by_status: Mapping[str, int],
    ) -> None:
        """Take up what the log remembers."""
        self.tapes.restore(tapes, taken)
        self.reports.restore(sessions)
        self.orders.restore(orders, orders_by_status)
        for order in self.orders:
            self._schedule.put(order)

    # -- what cells ask ---------------------------------------------------------------------------------------------

    def submit(self, session: str, terms: Submit, now_us: int) -> None:
        """Take a new order, or answer for one that is known."""
        self._close_days(now_us)
        self._requests["submits"] += 1
        known = self.orders.find(terms.cl_ord_id)
        if known is not None:
            # A silent order says nothing of a repeat, either.
            if self._planner.silent_until_us(known) is not None:
                return
            same = known.terms == terms
            reason = "duplicate submit" if same else "duplicate ClOrdID with other terms; the first one stands"
            self.reports.add(known, "status", session, now_us, reason=reason)
            return
        order = LiveOrder(terms, session)
        self.orders.add(order)
        self._planner.plan(order, now_us)
        self._steps.run_due(order, now_us, now_us)
        self._schedule.put(order)

    def cancel(self, session: str, request: Cancel, now_us: int) -> None:
        """End what is left of an order, now or after the latency that tests asked for."""
        self._close_days(now_us)
        self._requests["cancels"] += 1
        self._apply_or_delay(session, request, now_us)

    def replace(self, session: str, request: Replace, now_us: int) -> None:
        """Put a new order in the place of what is left of another, now or after the latency that tests asked for."""
        self._requests["replaces"] += 1
        self._apply_or_delay(session, request, now_us)

    def status(self, session: str, request: Status, now_us: int) -> bool:
        """Report where an order stands; False if it was never seen here. Nothing is said of one that is silent."""
        order = self.orders.find(request.cl_ord_id)
        if order is None:
            return False
        if self._planner.silent_until_us(order) is not None:
            return True
        if order.terms.replaces is None:
            self.reports.add(order, "status", session, now_us)
        else:  # whether it took the other's place is what the cell needs to know
            refused = order.ord_status == "rejected" and not order.fill_count
            self.reports.add(
                order, "replace_rejected" if refused else "replaced", session, now_us, reason="asked again"
            )
        return True

    # -- what time and prices do ------------------------------------------------------------------------------------

    def next_due_us(self) -> int | None:
        """When `advance` next has something to do."""
        return min(
            (at_us for at_us in (self._schedule.next_us(), self._next_close_us) if at_us is not None), default=None
        )

    def advance(self, now_us: int) -> None:
        """Let everything happen that is due, in order of time, up to a bounded number of steps."""
        self._close_days(now_us)
        for _ in range(DUE_STEPS_MAX):
            due_us = self._schedule.next_us()
            if due_us is None or due_us > now_us:
                return
            cl_ord_id = self._schedule.take_order(due_us)
            if cl_ord_id is None:
                self._apply(*self._schedule.take_request(), now_us)
                continue
            order = self.orders.live(cl_ord_id)
            if order is not None and order.steps and order.steps[0].at_us <= due_us:
                self._steps.run_due(order, due_us, now_us)
                self._schedule.put(order)

    def meet_prices(self, prices: Mapping[str, int], now_us: int) -> None:
        """Let waiting orders trade whose limit the price has reached."""
        if not self._hours.is_open(now_us):
            return
        for cl_ord_id in self._schedule.reached(prices):
            order = self.orders.live(cl_ord_id)
            if order is not None and order.waits and order.leaves_qty:
                order.waits = False
                order.steps = plan_crossing(self._random.seed, order.terms, leaves_qty=order.leaves_qty, at_us=now_us)
                self.orders.touch(order)
                self._schedule.put(order)

    # -- what operators do ------------------------------------------------------------------------------------------

    def add_tape(self, tape: Tape, row: TapeRow, now_us: int) -> None:
        """Play this tape from now on, and trade its symbol at its first price."""
        self.tapes.add(tape)
        self._batch.tapes.append(row)
        self._prices.set_last(tape.symbol, tape.first_px, now_us)

    @property
    def faults(self) -> Faults:
        """The faults that are on."""
        return self._random.faults

    def set_faults(self, faults: Faults, encoded: str, now_us: int) -> None:
        """From now on these faults are on. Orders whose silence ends with the old ones speak at once."""
        silent = [order for order in self.orders if self._planner.silent_until_us(order) is not None]
        self._random.faults = faults
        self._batch.facts.append(("faults", encoded))
        for order in silent:
            if self._planner.silent_until_us(order) is None:
                order.begin_at(now_us)
                self.orders.touch(order)
                self._schedule.put(order)
        if silent:  # what was asked meanwhile is looked at after that
            self._schedule.move_requests(lambda at_us, request: self._silence_about(request) or min(at_us, now_us))

    @property
    def counts(self) -> dict[str, int]:
        """What came and went since the start."""
        return self._requests | {"fills": self._steps.fill_count, "reports": self.reports.count}

    # -- the batch --------------------------------------------------------------------------------------------------

    @property
    def pending_count(self) -> int:
        """Rows that wait to be written."""
        return self.orders.pending_count + self.reports.pending_count

    def remember(self, name: str, value: str) -> None:
        """Write a fact down with the next batch."""
        self._batch.facts.append((name, value))

    def take_batch(self) -> Batch:
        """Everything since the last call; the caller writes it before it lets anybody know."""
        batch, self._batch = self._batch, Batch()
        batch.orders = self.orders.take()
        batch.reports, batch.sessions = self.reports.take()
        batch.prices = self._prices.take_changed_bases()
        return batch

    # -- inside -----------------------------------------------------------------------------------------------------

    def _apply_or_delay(self, session: str, request: Cancel | Replace, now_us: int) -> None:
        silent_until_us = self._silence_about(request)
        if self.faults.latency_ms or silent_until_us is not None:
            at_us = max(now_us + self.faults.latency_ms * 1_000, silent_until_us or 0)
            self._schedule.delay(at_us, session, request)
        else:
            self._apply(session, request, now_us)

    def _apply(self, session: str, request: Cancel | Replace, now_us: int) -> None:
        if isinstance(request, Cancel):
            self._cancel(session, request, now_us)
        else:
            self._replace(session, request, now_us)

    def _silence_about(self, request: Cancel | Replace) -> int | None:
        subject = request.cl_ord_id if isinstance(request, Cancel) else request.orig_cl_ord_id
        return self._planner.silent_until_us(self.orders.find(subject))

    def _close_days(self, now_us: int) -> None:
        """End every day that is over: what was to happen after its close does not; gtc orders rest from then on."""
        while self._next_close_us is not None and self._next_close_us <= now_us:
            close_us = self._next_close_us
            for order in self.orders:
                if not order.ended and order.close_day(close_us):
                    self.orders.touch(order)
                    self._schedule.put(order)
            self._batch.facts.append((CLOSED_THROUGH, str(close_us)))
            self._next_close_us = self._hours.close_after(close_us)

    def _replace(self, session: str, request: Replace, now_us: int) -> None:
        """Known by its id: answered as before. Refused (terms, tape, a fault): kept as a rejected order, so that a
        repeat gets the same answer. Taken: the old order ends as `replaced`, the new one goes on with its tape or a new
        plan, and both sessions hear of it.
        """
        known = self.orders.find(request.cl_ord_id)
        if known is not None:
            self.status(session, Status(request.cl_ord_id, request.account), now_us)
            return
        old = self.orders.find(request.orig_cl_ord_id)
        if old is not None:
            self._reach_reduction(old, now_us)
        refusal = refusal_of_replacement(old, request, seed=self._random.seed, faults=self.faults)
        old = old or unknown_order(Cancel(request.orig_cl_ord_id, request.account), session)
        terms = terms_of_replacement(old, request)
        # A replacement is an order, too: its terms may be impossible by themselves.
        refusal = refusal or refusal_of(terms)
        new = LiveOrder(terms, old.session)
        new.ord_status = "new" if refusal is None else "rejected"
        self.orders.add(new)
        if refusal is not None:
            self.reports.add(new, "replace_rejected", session, now_us, reason=refusal)
            return
        self.orders.set_status(old, "replaced")
        self.orders.touch(old)
        hand_over(old, new, seed=self._random.seed, faults=self.faults, prices=self._prices, now_us=now_us)
        # A tape's order trades by the tape's time; one on paper waits for the open.
        if new.tape_key is None and not self._hours.is_open(now_us):
            new.steps, new.waits = self._planner.outside_hours(terms, now_us)
        if not self._random.occurs("lost_ack", terms.cl_ord_id, self.faults.lost_ack_rate):
            for reader in {old.session, session}:
                self.reports.add(new, "replaced", reader, now_us, reason="replaced on request")
        self._steps.run_due(new, now_us, now_us)
        self._schedule.put(new)
        self._schedule.put(old)

    def _reach_reduction(self, order: LiveOrder, now_us: int) -> None:
        """What precedes the partial cancellation on the tape precedes its confirmation."""
        if any(step.kind == "reduce" for step in order.steps):
            while order.steps[0].kind != "reduce":
                self._steps.take_next(order, now_us)

    def _cancel(self, session: str, request: Cancel, now_us: int) -> None:
        """An unknown or ended order is refused. A tape order first trades what precedes its deletion.

        On paper the faults may refuse the cancel, or let one more fill come after it. Busts and corrections of earlier
        fills stay planned. The order's session and the one that asked both hear of it.
        """
        order = self.orders.find(request.cl_ord_id)
        if order is None:
            self.reports.add(
                unknown_order(request, session), "cancel_rejected", session, now_us, reason="unknown order"
            )
            return
        if order.tape_key is not None:
            while order.steps and not order.ended:  # what precedes the deletion on the tape precedes its confirmation
                self._steps.take_next(order, now_us)
        if order.ended:
            reason = f"too late: the order is {order.ord_status}"
            self.reports.add(order, "cancel_rejected", session, now_us, reason=reason)
            return
        on_paper = order.tape_key is None
        cl_ord_id = order.terms.cl_ord_id
        if on_paper and self._random.occurs("cancel_refused", cl_ord_id, self.faults.cancel_refused_rate):
            self.reports.add(order, "cancel_rejected", session, now_us, reason="broker option")
            return
        leaves_qty = order.leaves_qty
        self.orders.set_status(order, "cancelled")
        order.steps, order.waits = tuple(step for step in order.steps if step.kind in REVISIONS), False
        if on_paper and leaves_qty and self._random.occurs("late_fill", cl_ord_id, self.faults.late_fill_rate):
            self._steps.plan_late_fill(order, leaves_qty, now_us)
        self._schedule.put(order)
        self.orders.touch(order)
        for reader in {order.session, session}:
            self.reports.add(order, "cancelled", reader, now_us, reason="cancelled on request")
