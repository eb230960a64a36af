"""What is to happen to a new order: refused, by its tape, on paper, or nothing while the market is closed; and when
the venue first says something of it. A plan is made once and stored with its order.
"""

from exchange.faults import SeededRandom
from exchange.hours import TradingHours
from exchange.live_order import LiveOrder
from exchange.paper import Step, plan_order, refusal_of
from exchange.playing import PlayedTapes
from exchange.prices import PriceBoard
from exchange.wire import Submit


class Planner:
    """Makes the plans of all orders."""

    def __init__(self, prices: PriceBoard, hours: TradingHours, tapes: PlayedTapes, random: SeededRandom) -> None:
        self._prices = prices
        self._hours = hours
        self._tapes = tapes
        self._random = random

    def plan(self, order: LiveOrder, now_us: int) -> None:
        """Give a new order its steps."""
        terms = order.terms
        refusal = refusal_of(terms) if self._prices.knows(terms.symbol) else f"unknown symbol {terms.symbol}"
        if refusal is None and not self._hours.is_open(now_us):
            ending, order.waits = self.outside_hours(terms, now_us)
            order.steps = (Step(now_us, "accepted"), *ending)
            return
        if refusal is None:
            refusal = self._tapes.plan(order, now_us + self._random.faults.latency_ms * 1_000)
        if refusal is not None:
            order.steps = (Step(now_us, "rejected", reason=refusal),)
        elif order.tape_key is None:
            last_px = self._prices.px_micros(terms.symbol, now_us)
            at_us = now_us + self._silence_of(terms.cl_ord_id)
            plan = plan_order(self._random.seed, terms, last_px=last_px, at_us=at_us, faults=self._random.faults)
            order.steps, order.waits = plan.steps, plan.waits

    @staticmethod
    def outside_hours(terms: Submit, now_us: int) -> tuple[tuple[Step, ...], bool]:
        """What is to happen to an order that comes while nothing trades, and whether it waits for a price."""
        # It rests for the open; any other order is for a day that does not trade now.
        if terms.time_in_force == "gtc":
            return (), True
        return (Step(now_us, "expired", reason="the market is closed"),), False

    def silent_until_us(self, order: LiveOrder | None) -> int | None:
        """The silence lies in the plan, so a restart keeps it; it ends with its time, or with the fault."""
        # A tape's orders are never silent: what follows would not be the tape.
        if order is None or order.tape_key is not None or not order.is_unreported:
            return None
        return order.steps[0].at_us if self._silence_of(order.terms.cl_ord_id) else None

    def _silence_of(self, cl_ord_id: str) -> int:
        """How long the venue says nothing of a new order, in microseconds."""
        silent = self._random.occurs("silent", cl_ord_id, self._random.faults.silent_rate)
        return self._random.faults.silent_ms * 1_000 if silent else 0
