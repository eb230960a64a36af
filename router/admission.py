"""What one cell is let in for at this router, by kind of request: a stated rate of orders, and more of everything else.

A cell that gets more orders than it can place makes all of them late. So it is said how many a second it gets; what
comes beyond is shed at once, before anything was sent, and what was admitted is as fast as on a quiet day. Cancels and
reads of a customer's own orders count towards a rate of their own, as do other reads and other writes.

Without a stated rate everything is admitted, and only counted. Each router has its part of the cell's rate for itself.
"""

from collections.abc import Hashable
from typing import Final

from router.fair_rate import FairRate
from router.kinds import CUSTOMERS, Kind
from router.settings import AdmissionSettings

NO_CAP: Final = AdmissionSettings()


class Admission:
    __slots__ = ("admitted", "rates", "shed")

    def __init__(self, settings: AdmissionSettings) -> None:
        self.rates: tuple[FairRate, ...] = ()
        """By kind; none without a cap."""
        if settings.orders_per_s is not None:
            others_per_s = settings.orders_per_s * settings.others_times
            self.rates = tuple(
                FairRate(settings.orders_per_s if kind is Kind.ORDER else others_per_s) for kind in CUSTOMERS
            )
        self.admitted = [0] * len(Kind)
        self.shed = [0] * len(Kind)

    def admits(self, kind: Kind, user: Hashable, now_s: float) -> bool:
        """Once for a request, before it waits for anything."""
        if self.rates and not self.rates[kind].take(user, now_s):
            self.shed[kind] += 1
            return False
        self.admitted[kind] += 1
        return True
