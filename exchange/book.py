"""The exchange's orders: what a submit, a cancel, a status question, a moment or a price change makes of them.

Synchronous and single-threaded; it talks to nobody. Every effect collects in a batch (`take_batch`) that the caller
makes durable before telling anyone. Ids are derived, not drawn: a venue order id from the order's ClOrdID, an exec id
from it and the number of the fill, and plans are stored with their order. So a restart goes on exactly where the log
ends. Reports go to the session that submitted the order, and the end of a cancel also to the session that asked.

Never: a fill beyond the quantity, a fill worse than the limit, an exec id for two fills, a gap in a session's numbers.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from itertools import count
from typing import Final
from uuid import UUID

from exchange.faults import Faults, strikes
from exchange.hours import ALWAYS, TradingHours
from exchange.live_order import ENDED, LiveOrder, exec_id_of, never_seen, rfc3339
from exchange.log import Batch, OrderRow, ReportRow, TapeKey, TapeRow
from exchange.paper import QTY_MAX, Step, is_marketable, plan_crossing, plan_order, refusal_of, worst_px
from exchange.prices import PriceBoard
from exchange.replacing import REVISIONS, hand_over, refusal_of_replacement, terms_of_replacement
from exchange.tape import Tape, difference_from_tape, plan_tape_order, tape_id_of
from exchange.wire import Cancel, Replace, Report, ReportKind, Status, Submit, encode_message

DUE_STEPS_MAX: Final = 2_000
CLOSED_THROUGH: Final = "closed_through_us"
LATE_FILL_AFTER_US: Final = 40_000
REVISED_AFTER_US: Final = 60_000
CENT: Final = 10_000


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
        self._seed = seed
        self._prices = prices
        self._find_order = find_order
        self.faults = faults or Faults()
        self.tapes: dict[str, dict[str, Tape]] = {}
        self._taken: dict[TapeKey, str] = {}
        self._orders: dict[str, LiveOrder] = {}
        self._sessions: dict[str, list[int]] = {}  # session -> [last_seq, acked_seq]
        self._due: list[tuple[int, int, str]] = []
        self._delayed: list[tuple[int, int, str, Cancel | Replace]] = []
        self._waiting: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._tie = count()
        self._batch = Batch()
        self._hours = hours
        self._next_close_us = hours.close_after(closed_through_us)
        if self._next_close_us is not None:  # known from the first start on, or a first day could stay open for ever
            self._batch.facts.append((CLOSED_THROUGH, str(closed_through_us)))
        self._dirty_orders: dict[str, LiveOrder] = {}
        self._dirty_sessions: set[str] = set()
        self._orders_by_status: Counter[str] = Counter()
        self.counts = {"submits": 0, "cancels": 0, "replaces": 0, "fills": 0, "reports": 0}

    # -- recovery ---------------------------------------------------------------------------------------------------

    def restore(
        self,
        orders: Iterable[OrderRow],
        sessions: Iterable[tuple[str, int, int]],
        tapes: Iterable[Tape],
        taken: Mapping[TapeKey, str],
        orders_by_status: Mapping[str, int],
    ) -> None:
        """Take up what the log remembers."""
        for tape in tapes:
            self.tapes.setdefault(tape.symbol, {})[tape.run] = tape
        self._taken = dict(taken)
        self._orders_by_status.update(orders_by_status)
        self._sessions = {session: [last_seq, acked_seq] for session, last_seq, acked_seq in sessions}
        for row in orders:
            order = LiveOrder.from_row(row)
            self._orders[order.terms.cl_ord_id] = order
            self._schedule(order)

    # -- what cells ask ---------------------------------------------------------------------------------------------

    def open_session(self, session: str, received: int) -> int:
        """A cell is back and holds everything up to `received`; returns the last number given out so far."""
        numbers = self._sessions.setdefault(session, [0, 0])
        if received > numbers[0]:
            # The cell remembers more than we do: our log was deleted. Never use a number twice.
            numbers[0] = received
        self._dirty_sessions.add(session)
        self.acknowledge(session, received)
        return numbers[0]

    def acknowledge(self, session: str, seq: int) -> None:
        """Everything up to `seq` is durable in the cell; numbers from the future are cut."""
        numbers = self._sessions[session]
        seq = min(seq, numbers[0])
        if seq > numbers[1]:
            numbers[1] = seq
            self._dirty_sessions.add(session)

    def submit(self, session: str, terms: Submit, now_us: int) -> None:
        """Take a new order, or answer for one that is known."""
        self._close_days(now_us)
        self.counts["submits"] += 1
        known = self._find(terms.cl_ord_id)
        if known is not None:
            if self._silent_until_us(known) is not None:
                return
            same = known.terms == terms
            reason = "duplicate submit" if same else "duplicate ClOrdID with other terms; the first one stands"
            self._report(known, "status", session, now_us, reason=reason)
            return
        order = LiveOrder(terms, session)
        self._orders[terms.cl_ord_id] = order
        self._dirty_orders[terms.cl_ord_id] = order
        self._orders_by_status[order.ord_status] += 1
        self._plan(order, now_us)
        self._run_due_steps(order, now_us, now_us)
        self._schedule(order)

    def cancel(self, session: str, request: Cancel, now_us: int) -> None:
        """End what is left of an order, now or after the latency that tests asked for."""
        self._close_days(now_us)
        self.counts["cancels"] += 1
        self._look_at(session, request, now_us)

    def replace(self, session: str, request: Replace, now_us: int) -> None:
        """Put a new order in the place of what is left of another, now or after the latency that tests asked for."""
        self.counts["replaces"] += 1
        self._look_at(session, request, now_us)

    def status(self, session: str, request: Status, now_us: int) -> bool:
        """Report where an order stands; False if it was never seen here. Nothing is said of one that is silent."""
        order = self._find(request.cl_ord_id)
        if order is None:
            return False
        if self._silent_until_us(order) is not None:
            return True
        if order.terms.replaces is None:
            self._report(order, "status", session, now_us)
        else:  # whether it took the other's place is what the cell needs to know
            refused = order.ord_status == "rejected" and not order.fill_count
            self._report(order, "replace_rejected" if refused else "replaced", session, now_us, reason="asked again")
        return True

    # -- what time and prices do ------------------------------------------------------------------------------------

    def next_due_us(self) -> int | None:
        """When `advance` next has something to do."""
        moments = [entries[0][0] for entries in (self._due, self._delayed) if entries]
        if self._next_close_us is not None:
            moments.append(self._next_close_us)
        return min(moments, default=None)

    def advance(self, now_us: int) -> None:
        """Let everything happen that is due, in order of time, up to a bounded number of steps."""
        self._close_days(now_us)
        for _ in range(DUE_STEPS_MAX):
            due_us = self.next_due_us()
            if due_us is None or due_us > now_us:
                return
            if self._due and self._due[0][0] == due_us:
                order = self._orders.get(heapq.heappop(self._due)[2])
                if order is not None and order.steps and order.steps[0].at_us <= due_us:
                    self._run_due_steps(order, due_us, now_us)
                    self._schedule(order)
            else:
                _, _, session, request = heapq.heappop(self._delayed)
                self._act(session, request, now_us)

    def meet_prices(self, prices: Mapping[str, int], now_us: int) -> None:
        """Let waiting orders trade whose limit the price has reached."""
        if not self._hours.is_open(now_us):
            return
        for (symbol, side), waiting in self._waiting.items():
            last_px = prices.get(symbol)
            while last_px is not None and waiting and is_marketable(side, abs(waiting[0][0]), last_px):
                _, cl_ord_id = heapq.heappop(waiting)
                order = self._orders.get(cl_ord_id)
                if order is not None and order.waits and order.leaves_qty:
                    order.waits = False
                    order.steps = plan_crossing(self._seed, order.terms, leaves_qty=order.leaves_qty, at_us=now_us)
                    self._dirty_orders[cl_ord_id] = order
                    self._schedule(order)

    # -- what operators do ------------------------------------------------------------------------------------------

    def add_tape(self, tape: Tape, row: TapeRow, now_us: int) -> None:
        """Play this tape from now on, and trade its symbol at its first price."""
        self.tapes.setdefault(tape.symbol, {})[tape.run] = tape
        self._batch.tapes.append(row)
        self._prices.set_last(tape.symbol, tape.first_px, now_us)

    def set_faults(self, faults: Faults, encoded: str, now_us: int) -> None:
        """From now on these faults are on. Orders whose silence ends with the old ones speak at once."""
        silent = [order for order in self._orders.values() if self._silent_until_us(order) is not None]
        self.faults = faults
        self._batch.facts.append(("faults", encoded))
        for order in silent:
            if self._silent_until_us(order) is None:
                order.begin_at(now_us)
                self._dirty_orders[order.terms.cl_ord_id] = order
                self._schedule(order)
        if silent:  # what was asked meanwhile is looked at after that
            self._delayed = [
                (self._silent_until_us(self._find(_subject_of(request))) or min(at_us, now_us), tie, session, request)
                for at_us, tie, session, request in self._delayed
            ]
            heapq.heapify(self._delayed)

    def report_unknown_fill(self, now_us: int) -> list[str]:
        """Tell every session of a fill for an order that nobody sent; returns the sessions."""
        for session, (last_seq, _) in self._sessions.items():
            digest = blake2b(f"{self._seed}:stray:{session}:{last_seq}".encode(), digest_size=32).digest()
            stray = Submit(
                cl_ord_id=str(UUID(bytes=digest[:16], version=4)),
                account=str(UUID(bytes=digest[16:], version=4)),
                symbol=self._prices.symbols[0],
                side="buy",
                order_qty=1_000_000,
                limit_px=1_000_000,
            )
            order = LiveOrder(stray, session)
            order.ord_status, order.cum_qty, order.fill_count = "filled", stray.order_qty, 1
            self._report(order, "fill", session, now_us, last_qty=stray.order_qty, last_px=1_000_000)
        return sorted(self._sessions)

    def price_bands(self) -> dict[str, tuple[int, int]]:
        """The lowest and highest limit on a symbol's tapes: what was recorded is taken, however far from the price."""
        limits = {symbol: [tape.limits_px for tape in runs.values()] for symbol, runs in self.tapes.items()}
        return {symbol: (min(low for low, _ in of), max(high for _, high in of)) for symbol, of in limits.items()}

    def taken_count(self, symbol: str, run: str) -> int:
        """How many orders of a tape have come so far."""
        return sum(1 for key in self._taken if key[:2] == (symbol, run))

    def session_numbers(self) -> dict[str, tuple[int, int]]:
        """session -> (last number given out, highest acknowledged)."""
        return {session: (last_seq, acked_seq) for session, (last_seq, acked_seq) in self._sessions.items()}

    def orders_by_status(self) -> dict[str, int]:
        """How many orders there are in each status, ended ones included."""
        return {status: count for status, count in sorted(self._orders_by_status.items()) if count}

    @property
    def live_count(self) -> int:
        """Orders in memory."""
        return len(self._orders)

    # -- the batch --------------------------------------------------------------------------------------------------

    @property
    def pending_count(self) -> int:
        """Rows that wait to be written."""
        return len(self._dirty_orders) + len(self._batch.reports)

    def take_batch(self) -> Batch:
        """Everything since the last call; the caller writes it before it lets anybody know."""
        batch, self._batch = self._batch, Batch()
        batch.orders = [order.row() for order in self._dirty_orders.values()]
        batch.sessions = [
            (session, self._sessions[session][0], self._sessions[session][1]) for session in self._dirty_sessions
        ]
        batch.prices = self._prices.take_changed_bases()
        self._dirty_orders = {}
        self._dirty_sessions = set()
        return batch

    def forget_ended(self, batch: Batch) -> None:
        """A batch is durable: orders that ended in it need no memory any more."""
        for row in batch.orders:
            if not row.live and row.terms.cl_ord_id not in self._dirty_orders:
                self._orders.pop(row.terms.cl_ord_id, None)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _look_at(self, session: str, request: Cancel | Replace, now_us: int) -> None:
        silent_until_us = self._silent_until_us(self._find(_subject_of(request)))
        if self.faults.latency_ms or silent_until_us is not None:
            at_us = max(now_us + self.faults.latency_ms * 1_000, silent_until_us or 0)
            heapq.heappush(self._delayed, (at_us, next(self._tie), session, request))
        else:
            self._act(session, request, now_us)

    def _act(self, session: str, request: Cancel | Replace, now_us: int) -> None:
        if isinstance(request, Cancel):
            self._cancel(session, request, now_us)
        else:
            self._replace(session, request, now_us)

    def _silence_of(self, cl_ord_id: str) -> int:
        """How long the venue says nothing of a new order, in microseconds."""
        silent = strikes(self._seed, "silent", cl_ord_id, self.faults.silent_rate)
        return self.faults.silent_ms * 1_000 if silent else 0

    def _silent_until_us(self, order: LiveOrder | None) -> int | None:
        """The silence lies in the plan, so a restart keeps it; it ends with its time, or with the fault."""
        if order is None or order.tape_key is not None or not order.is_unheard:
            return None
        return order.steps[0].at_us if self._silence_of(order.terms.cl_ord_id) else None

    def _find(self, cl_ord_id: str) -> LiveOrder | None:
        order = self._orders.get(cl_ord_id)
        if order is None:
            row = self._find_order(cl_ord_id)
            order = None if row is None else LiveOrder.from_row(row)
        return order

    def _close_days(self, now_us: int) -> None:
        """End every day that is over: what was to happen after its close does not; gtc orders rest from then on."""
        while self._next_close_us is not None and self._next_close_us <= now_us:
            close_us = self._next_close_us
            for order in self._orders.values():
                if not order.ended:
                    self._close_order(order, close_us)
            self._batch.facts.append((CLOSED_THROUGH, str(close_us)))
            self._next_close_us = self._hours.close_after(close_us)

    def _close_order(self, order: LiveOrder, close_us: int) -> None:
        is_gtc = order.terms.time_in_force == "gtc"
        if is_gtc and order.tape_key is not None:
            return  # a tape tells what happens to its orders, and when
        steps = tuple(step for step in order.steps if step.at_us < close_us)
        waited = order.waits
        if not order.completed_by(steps) and not any(step.kind in ENDED for step in steps):
            if is_gtc:
                order.waits = order.waits or steps != order.steps
            else:
                order.waits = False
                steps += (Step(close_us, "expired", reason="end of day"),)
        if steps != order.steps or order.waits != waited:
            order.steps = steps
            self._dirty_orders[order.terms.cl_ord_id] = order
            self._schedule(order)

    def _plan(self, order: LiveOrder, now_us: int) -> None:
        terms = order.terms
        refusal = refusal_of(terms) if self._prices.knows(terms.symbol) else f"unknown symbol {terms.symbol}"
        if refusal is None and not self._hours.is_open(now_us):
            ending, order.waits = self._outside_hours(terms, now_us)
            order.steps = (Step(now_us, "accepted"), *ending)
            return
        if refusal is None:
            refusal = self._plan_from_tape(order, now_us)
        if refusal is not None:
            order.steps = (Step(now_us, "rejected", reason=refusal),)
        elif order.tape_key is None:
            last_px = self._prices.px_micros(terms.symbol, now_us)
            at_us = now_us + self._silence_of(terms.cl_ord_id)
            plan = plan_order(self._seed, terms, last_px=last_px, at_us=at_us, faults=self.faults)
            order.steps, order.waits = plan.steps, plan.waits

    @staticmethod
    def _outside_hours(terms: Submit, now_us: int) -> tuple[tuple[Step, ...], bool]:
        """What is to happen to an order that comes while nothing trades, and whether it waits for a price."""
        if terms.time_in_force == "gtc":
            return (), True
        return (Step(now_us, "expired", reason="the market is closed"),), False

    def _plan_from_tape(self, order: LiveOrder, now_us: int) -> str | None:
        """Plan a tape order as the tape says, or say why it is refused; leave orders that are none alone."""
        terms = order.terms
        for run, tape in self.tapes.get(terms.symbol, {}).items():
            tape_id = tape_id_of(terms.client_order_id, run)
            if tape_id is None:
                continue
            on_tape = tape.orders.get(tape_id)
            if on_tape is None:
                return f"run {run} of {terms.symbol} has no new order {tape_id}"
            key = (terms.symbol, run, tape_id)
            if key in self._taken:
                return f"tape order {tape_id} of run {run} was already taken by order {self._taken[key]}"
            difference = difference_from_tape(terms, on_tape)
            if difference is not None:
                return difference
            self._taken[key] = terms.cl_ord_id
            order.tape_key = key
            at_us = now_us + self.faults.latency_ms * 1_000
            order.steps = plan_tape_order(on_tape, at_us=at_us, waits_for_replace=tape.waits_for_replace)
            return None
        return None

    def _schedule(self, order: LiveOrder) -> None:
        if order.steps:
            if order.steps[0].kind == "reduce":
                return  # goes on when the replacement comes
            heapq.heappush(self._due, (order.steps[0].at_us, next(self._tie), order.terms.cl_ord_id))
        elif order.waits:
            terms = order.terms
            priority = -worst_px(terms) if terms.side == "buy" else worst_px(terms)
            heapq.heappush(self._waiting.setdefault((terms.symbol, terms.side), []), (priority, terms.cl_ord_id))

    def _run_due_steps(self, order: LiveOrder, due_us: int, now_us: int) -> None:
        while order.steps and order.steps[0].at_us <= due_us and order.steps[0].kind != "reduce":
            step, order.steps = order.steps[0], order.steps[1:]
            self._take_step(order, step, now_us)

    def _take_step(self, order: LiveOrder, step: Step, now_us: int) -> None:
        self._dirty_orders[order.terms.cl_ord_id] = order
        if step.kind == "fill":
            self._fill(order, step, now_us)
        elif step.kind == "bust" or step.kind == "correct":
            self._revise(order, step, step.kind, now_us)
        elif step.kind == "reduce":
            return
        elif step.kind == "accepted":
            if not strikes(self._seed, "lost_ack", order.terms.cl_ord_id, self.faults.lost_ack_rate):
                self._report(order, "accepted", order.session, now_us)
        else:
            self._turn(order, step.kind)
            order.waits = False
            self._report(order, step.kind, order.session, now_us, reason=step.reason)

    def _turn(self, order: LiveOrder, ord_status: str) -> None:
        self._orders_by_status[order.ord_status] -= 1
        self._orders_by_status[ord_status] += 1
        order.ord_status = ord_status

    def _fill(self, order: LiveOrder, step: Step, now_us: int) -> None:
        terms = order.terms
        is_complete = order.completed_by((step,))
        order.trade(step.qty, step.qty * step.px)
        assert order.cum_qty <= (terms.order_qty or QTY_MAX), f"{terms.cl_ord_id} would be overfilled"
        assert order.unspent >= 0, f"{terms.cl_ord_id} would trade for more than its amount"
        if is_complete:
            self._turn(order, "filled")
        elif not order.ended:
            self._turn(order, "partially_filled")
        if order.tape_key is not None:
            self._prices.set_last(terms.symbol, step.px, now_us)
        self.counts["fills"] += 1
        self._report(order, "fill", order.session, now_us, last_qty=step.qty, last_px=step.px)
        noisy = self.faults.noisy_duplicate_rate
        if strikes(self._seed, "noisy", f"{terms.cl_ord_id}:{order.fill_count}", noisy):
            self._report(order, "fill", order.session, now_us, last_qty=step.qty, last_px=step.px + 10_000)
        if order.tape_key is None:
            self._plan_revision(order, step, now_us)

    def _plan_revision(self, order: LiveOrder, fill: Step, now_us: int) -> None:
        """Let the fill be taken back or corrected a moment later, if the faults say so."""
        name, at_us, ref = f"{order.terms.cl_ord_id}:{order.fill_count}", now_us + REVISED_AFTER_US, exec_id_of(order)
        if strikes(self._seed, "bust", name, self.faults.bust_rate):
            step = Step(at_us, "bust", fill.qty, fill.px, ref)
        elif strikes(self._seed, "correct", name, self.faults.correct_rate):
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
                self._turn(order, "cancelled")
            elif not order.ended:
                self._turn(order, "partially_filled" if order.cum_qty else "new")
        self._report(
            order, kind, order.session, now_us, last_qty=step.qty, last_px=step.px, reason=kind, exec_ref_id=step.reason
        )

    def _replace(self, session: str, request: Replace, now_us: int) -> None:
        known = self._find(request.cl_ord_id)
        if known is not None:
            self.status(session, Status(request.cl_ord_id, request.account), now_us)
            return
        old = self._find(request.orig_cl_ord_id)
        if old is not None:
            self._reach_reduction(old, now_us)
        refusal = refusal_of_replacement(old, request, seed=self._seed, faults=self.faults)
        old = old or never_seen(Cancel(request.orig_cl_ord_id, request.account), session)
        terms = terms_of_replacement(old, request)
        refusal = refusal or refusal_of(terms)
        new = LiveOrder(terms, old.session)
        new.ord_status = "new" if refusal is None else "rejected"
        self._orders[terms.cl_ord_id] = new
        self._dirty_orders[terms.cl_ord_id] = new
        self._orders_by_status[new.ord_status] += 1
        if refusal is not None:
            self._report(new, "replace_rejected", session, now_us, reason=refusal)
            return
        self._turn(old, "replaced")
        self._dirty_orders[old.terms.cl_ord_id] = old
        hand_over(old, new, seed=self._seed, faults=self.faults, prices=self._prices, now_us=now_us)
        if new.tape_key is None and not self._hours.is_open(now_us):
            new.steps, new.waits = self._outside_hours(terms, now_us)
        if not strikes(self._seed, "lost_ack", terms.cl_ord_id, self.faults.lost_ack_rate):
            for reader in {old.session, session}:
                self._report(new, "replaced", reader, now_us, reason="replaced on request")
        self._run_due_steps(new, now_us, now_us)
        self._schedule(new)
        self._schedule(old)

    def _reach_reduction(self, order: LiveOrder, now_us: int) -> None:
        """What precedes the partial cancellation on the tape precedes its confirmation."""
        if any(step.kind == "reduce" for step in order.steps):
            while order.steps[0].kind != "reduce":
                step, order.steps = order.steps[0], order.steps[1:]
                self._take_step(order, step, now_us)

    def _cancel(self, session: str, request: Cancel, now_us: int) -> None:
        order = self._find(request.cl_ord_id)
        if order is None:
            self._report(never_seen(request, session), "cancel_rejected", session, now_us, reason="unknown order")
            return
        if order.tape_key is not None:
            while order.steps and not order.ended:  # what precedes the deletion on the tape precedes its confirmation
                step, order.steps = order.steps[0], order.steps[1:]
                self._take_step(order, step, now_us)
        if order.ended:
            reason = f"too late: the order is {order.ord_status}"
            self._report(order, "cancel_rejected", session, now_us, reason=reason)
            return
        on_paper = order.tape_key is None
        cl_ord_id = order.terms.cl_ord_id
        if on_paper and strikes(self._seed, "cancel_refused", cl_ord_id, self.faults.cancel_refused_rate):
            self._report(order, "cancel_rejected", session, now_us, reason="broker option")
            return
        leaves_qty = order.leaves_qty
        self._turn(order, "cancelled")
        order.steps, order.waits = tuple(step for step in order.steps if step.kind in REVISIONS), False
        if on_paper and leaves_qty and strikes(self._seed, "late_fill", cl_ord_id, self.faults.late_fill_rate):
            late_qty = max(1, leaves_qty // 2_000_000 * 1_000_000)
            late_px = order.terms.limit_px or self._prices.px_micros(order.terms.symbol, now_us)
            late_fill = Step(now_us + LATE_FILL_AFTER_US, "fill", late_qty, late_px)
            order.steps = tuple(sorted((*order.steps, late_fill), key=lambda planned: planned.at_us))
        self._schedule(order)
        self._dirty_orders[cl_ord_id] = order
        for reader in {order.session, session}:
            self._report(order, "cancelled", reader, now_us, reason="cancelled on request")

    def _report(
        self,
        order: LiveOrder,
        kind: ReportKind,
        reader: str,
        now_us: int,
        *,
        last_qty: int | None = None,
        last_px: int | None = None,
        reason: str | None = None,
        exec_ref_id: str | None = None,
    ) -> None:
        """Put a report on a session, twice if the fault of duplicates strikes it."""
        terms = order.terms
        copies = 1 + strikes(
            self._seed, "duplicate", f"{terms.cl_ord_id}:{kind}:{order.fill_count}", self.faults.duplicate_rate
        )
        numbers = self._sessions.setdefault(reader, [0, 0])
        at = rfc3339(now_us)
        for _ in range(copies):
            numbers[0] += 1
            report = Report(
                seq=numbers[0],
                kind=kind,
                session=order.session,
                trade_date=at[:10],
                cl_ord_id=terms.cl_ord_id,
                account=terms.account,
                symbol=terms.symbol,
                side=terms.side,
                ord_status=order.ord_status,
                cum_qty=order.cum_qty,
                leaves_qty=order.leaves_qty,
                at=at,
                venue_order_id=order.venue_order_id,
                exec_id=exec_id_of(order) if kind == "fill" or kind in REVISIONS else None,
                last_qty=last_qty,
                last_px=last_px,
                reason=reason,
                exec_ref_id=exec_ref_id,
                orig_cl_ord_id=terms.replaces if kind in ("replaced", "replace_rejected") else None,
            )
            self._batch.reports.append(ReportRow(reader, numbers[0], encode_message(report)))
            self.counts["reports"] += 1
        self._dirty_sessions.add(reader)


def _subject_of(request: Cancel | Replace) -> str:
    return request.cl_ord_id if isinstance(request, Cancel) else request.orig_cl_ord_id
