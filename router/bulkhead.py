"""How many requests may be inside one cell, and how many may wait for it. A sick cell fills its own and nobody
else's; a customer fills his share and nobody else's.

Three kinds of requests have places of their own, so that none waits for another: what only reads, what writes, and
what the router asks in its own name for those who sign up or log in (a stranger can send those).
"""

from collections.abc import Hashable

from infra.runtime.fair_permits import FairPermits, PermitsExhausted, ShareExhausted
from router.errors import CellOverloaded, TooManyRequests
from router.settings import UpstreamSettings
from router.ticking import time_limit


class Bulkhead:
    """The places of one cell."""

    __slots__ = ("_queue_wait_s", "identity", "over_share", "reads", "turned_away", "writes")

    def __init__(self, settings: UpstreamSettings) -> None:
        self._queue_wait_s = settings.queue_wait_s
        self.reads = _places_of_customers(settings)
        self.writes = _places_of_customers(settings)
        # Who logs in is not known yet: a stranger who tries one email again and again must not take its owner's share.
        self.identity = FairPermits(
            permits_max=settings.identity_in_flight_max,
            permits_per_holder_max=max(1, settings.identity_in_flight_max // 2),
            waiting_max=settings.queue_max,
            waiting_per_holder_max=settings.queue_max,
        )
        self.turned_away = 0
        self.over_share = 0

    @property
    def in_flight(self) -> int:
        return self.reads.in_use + self.writes.in_use + self.identity.in_use

    @property
    def queued(self) -> int:
        return self.reads.waiting + self.writes.waiting + self.identity.waiting

    async def acquire(self, places: FairPermits, whom: Hashable) -> None:
        """A place, or `CellOverloaded` when the cell is full, or `TooManyRequests` when it is his share that is."""
        try:
            await places.acquire(whom, time_limit(self._queue_wait_s))
        except ShareExhausted as error:
            self.over_share += 1
            raise TooManyRequests("more requests under way than one customer may have; nothing was done") from error
        except PermitsExhausted as error:
            self.turned_away += 1
            raise CellOverloaded("the cell did not get to this request in time; nothing was done") from error


def _places_of_customers(settings: UpstreamSettings) -> FairPermits:
    return FairPermits(
        permits_max=settings.in_flight_max,
        permits_per_holder_max=min(settings.user_in_flight_max, settings.in_flight_max),
        waiting_max=settings.queue_max,
        waiting_per_holder_max=settings.user_queue_max,
    )
