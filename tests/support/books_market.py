"""What the market does: time, opens and closes, last prices and the stops that they reach."""

import uuid
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from tests.support.books_customer import CustomerRules
from tests.support.books_machine import JUDGE, SESSIONS, SET_BANDS, SYMBOL, TRIGGER, near_prices, quantities
from tests.support.ledger_model import collar


class MarketRules(CustomerRules):
    @rule(seconds=st.sampled_from([0.5, 1, 1, 59, 60]))
    def a_moment_passes(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def _can_trade(self) -> bool:
        """The market is open, if need be on the next day, and nothing of before limits what comes."""
        self._a_minute_passes()
        if not self._is_open():
            self.end_the_days_that_are_over()
            self.at = min(opens_at for opens_at, _ in SESSIONS if opens_at > self.at)
            self.release_what_is_queued()
        return not self.model.restricted

    @rule(px=st.sampled_from([None, (1_000_000, 150_000_000)]))
    def the_venue_has_a_band_of_its_own(self, px: tuple[int, int] | None) -> None:
        self.model.venue_band = px
        self._call(SET_BANDS, *(([SYMBOL], [px[0]], [px[1]]) if px else ([], [], [])))

    @rule(px=near_prices)
    def hear_price(self, px: int) -> None:
        """The market moves; what it reaches is triggered once."""
        self.last_px = px
        expected = self.model.hear_price(SYMBOL, px) if self._is_open() else 0
        self._tell(px)
        self._call(JUDGE)
        while self._call(TRIGGER, self.at) != [(0, 0)]:
            pass  # a few of each customer's per call
        assert self._call(JUDGE) == [(0,)], "a stop is reached once"
        self.met["stops triggered"] += expected

    @precondition(lambda self: self.at < SESSIONS[-1][0])
    @rule(how=st.sampled_from(["to the edge", "to the edge", "past it"]))
    def time_passes(self, how: str) -> None:
        """To the next open or close exactly, or a minute beyond it."""
        self.at = min(edge for session in SESSIONS for edge in session if edge > self.at)
        self.at += timedelta(minutes=how == "past it")
        self.met["the market opens" if self._is_open() else "the market closes"] += 1

    @precondition(lambda self: self.at < SESSIONS[-1][0])
    @rule(qty=quantities, px=near_prices, time_in_force=st.sampled_from(["day", "gtc"]))
    def a_night_passes(self, qty: int, px: int, time_in_force: str) -> None:
        """Over the end of a day and the next open, with an order that the night brings."""
        if self._is_open():
            self.at = min(closes_at for _, closes_at in SESSIONS if closes_at > self.at)
        self.end_the_days_that_are_over()
        self.deposit(qty * px // 1_000_000 + 1)
        self.place("buy", qty, px, time_in_force, False)
        self.place("buy", 1, px, "ioc", False)
        self.at = min(opens_at for opens_at, _ in SESSIONS if opens_at > self.at)
        self.release_what_is_queued()

    @rule(qty=quantities, stop_px=st.integers(101, 105).map(lambda n: n * 1_000_000), is_replaced=st.booleans())
    def a_stop_is_reached(self, qty: int, stop_px: int, is_replaced: bool) -> None:
        self.hear_price(stop_px - 1_000_000)
        self.deposit(qty * collar(stop_px) // 1_000_000 + 1)
        self.place_stop("buy", qty, stop_px, None, "gtc")
        if is_replaced and self.commands[-1][0] in self.model.orders:
            self._change(self.commands[-1][0], qty + 1, None)
        self.hear_price(stop_px)

    @rule()
    def release_what_is_queued(self) -> None:
        """The worker's look at the queue: it does something only while the market is open."""
        expected = self.model.release_queued(self.at) if self._is_open() else 0
        while self._call("select released from release_queued_orders_v1(7, %s, 'XNYS')", self.at) != [(0,)]:
            pass  # orders of earlier examples are among them
        self.met["orders released"] += expected

    @rule()
    def end_the_days_that_are_over(self) -> None:
        for _, closes_at in SESSIONS:
            if closes_at > self.at:
                continue
            ended, reported = self.model.expire(closes_at)
            self.met["day orders expired"] += ended
            self.met["day orders the venue must end"] += reported
            after: uuid.UUID | None = uuid.UUID(int=0)
            while after is not None:
                [(after,)] = self._call(
                    "select last_order_id from expire_day_orders_v1(%s, %s, 5, %s)", closes_at, after, self.at
                )
