"""How long the venue takes: from an order sent to the first report of it, of a sample of orders.

At most `TIMED_MAX` orders are timed at once, so that the way of a report costs one look into a small dictionary. A
silent order gives up its place after a minute: what never answers is the sweep's (`cell_orders_stuck`), not a latency.
A connection that broke forgets them all: the pause until the next one is not the venue's answer.
"""

from collections.abc import Callable
from typing import Final

TIMED_MAX: Final = 64
"""Thousands of samples a second at a venue that answers in milliseconds, dozens at one that takes a second."""
FORGET_S: Final = 60.0
"""An order without a report for so long makes room for another sample; the sweep asks about it."""


class RoundTrips:
    """The orders of one connection whose first report is waited for."""

    def __init__(self, observe: Callable[[float], None], monotonic: Callable[[], float]) -> None:
        self._observe = observe
        self._monotonic = monotonic
        self._sent_s: dict[str, float] = {}
        """By order, oldest first."""

    def sent(self, cl_ord_id: str) -> None:
        if len(self._sent_s) >= TIMED_MAX:
            oldest = next(iter(self._sent_s))
            if self._monotonic() - self._sent_s[oldest] < FORGET_S:
                return
            del self._sent_s[oldest]
        self._sent_s.setdefault(cl_ord_id, self._monotonic())

    def heard(self, cl_ord_id: str) -> None:
        sent_s = self._sent_s.pop(cl_ord_id, None)
        if sent_s is not None:
            self._observe(self._monotonic() - sent_s)

    def parted(self) -> None:
        self._sent_s.clear()
