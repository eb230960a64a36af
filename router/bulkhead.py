"""How many requests may be inside one cell, and how many may wait for it. A sick cell uses up its own permits and no
other's; a customer uses up their own share and no other's.

Three kinds of requests have permits of their own, so that none waits for another: what only reads, what writes, and
what the router asks in its own name for those who sign up or log in (a stranger can send those).
"""

from collections.abc import Hashable

from infra.runtime.fair_permits import FairPermits, PermitsExhausted, ShareExhausted
from router.errors import CellOverloaded, TooManyRequests
from router.settings import UpstreamSettings
from router.ticking import time_limit


class Bulkhead:
    """The permits of one cell at this router."""

    __slots__ = ("_queue_wait_s", "identity", "over_share", "reads", "shed", "writes")

    def __init__(self, settings: UpstreamSettings) -> None:
        self._queue_wait_s = settings.queue_wait_s
        self.reads = _customers_permits(settings)
        self.writes = _customers_permits(settings)
        # Who logs in is not known yet: a stranger who tries one email again and again must not take its owner's share.
        self.identity = FairPermits(
            permits_max=settings.identity_in_flight_max,
            permits_per_holder_max=max(1, settings.identity_in_flight_max // 2),
            waiting_max=settings.queue_max,
            waiting_per_holder_max=settings.queue_max,
        )
        self.shed = 0
        self.over_share = 0

    @property
    def in_flight(self) -> int:
        return self.reads.in_use + self.writes.in_use + self.identity.in_use

    @property
    def queued(self) -> int:
        return self.reads.waiting + self.writes.waiting + self.identity.waiting

    async def acquire(self, permits: FairPermits, whom: Hashable) -> None:
        """Raises `CellOverloaded` when the cell is full, and `TooManyRequests` when the user's share is."""
        try:
            await permits.acquire(whom, time_limit(self._queue_wait_s))
        except ShareExhausted as error:
            self.over_share += 1
            raise TooManyRequests("more requests under way than one customer may have; nothing was done") from error
        except PermitsExhausted as error:
            self.shed += 1
            raise CellOverloaded("the cell did not get to this request in time; nothing was done") from error


def _customers_permits(settings: UpstreamSettings) -> FairPermits:
    return FairPermits(
        permits_max=settings.in_flight_max,
        permits_per_holder_max=min(settings.user_in_flight_max, settings.in_flight_max),
        waiting_max=settings.queue_max,
        waiting_per_holder_max=settings.user_queue_max,
    )
