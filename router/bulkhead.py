"""How many requests may be inside one cell, and how many may wait for it. A sick cell uses up its own permits and no
other's; a customer uses up their own share and no other's.

Each kind of request has permits of its own (`kinds.py`), so that none waits for another: a cancel does not wait for
orders, a read not for writes, and nobody for those who sign up or log in (a stranger can send those).
"""

import asyncio
from collections.abc import Hashable

from infra.runtime.fair_permits import FairPermits, PermitsExhausted, ShareExhausted
from router.errors import CellOverloaded, TooManyRequests
from router.kinds import CUSTOMERS, Kind
from router.queue_time import QueueTime
from router.settings import UpstreamSettings
from router.ticking import time_limit


class Bulkhead:
    """The permits of one cell at this router."""

    __slots__ = ("_queues", "_share_wait_s", "over_share", "permits", "shed")

    def __init__(self, settings: UpstreamSettings) -> None:
        self.permits = (*(_customers_permits(settings) for _ in CUSTOMERS), _identity_permits(settings))
        """By kind."""
        self._share_wait_s = settings.share_wait_s
        queues = [QueueTime(wait_s=settings.queue_wait_s, target_s=settings.queue_target_s) for _ in CUSTOMERS]
        # A password is hashed for longer than a whole queue of orders may wait.
        queues.append(QueueTime(wait_s=settings.share_wait_s, target_s=settings.share_wait_s))
        self._queues = tuple(queues)
        self.shed = [0] * len(Kind)
        self.over_share = 0

    @property
    def in_flight(self) -> int:
        return sum(permits.in_use for permits in self.permits)

    @property
    def queued(self) -> int:
        return sum(permits.waiting for permits in self.permits)

    async def acquire(self, kind: Kind, whom: Hashable) -> None:
        """Raises `CellOverloaded` when the cell is full, and `TooManyRequests` when the user's share is."""
        try:
            await self.permits[kind].acquire(whom, time_limit(self._wait_s(kind, whom)))
        except ShareExhausted as error:
            self.over_share += 1
            raise TooManyRequests("more requests under way than one customer may have; nothing was done") from error
        except PermitsExhausted as error:
            self.shed[kind] += 1
            raise CellOverloaded("the cell did not get to this request in time; nothing was done") from error

    def _wait_s(self, kind: Kind, whom: Hashable) -> float:
        """Whoever waits only for their own requests is no sign of a full cell, and costs it nothing."""
        permits = self.permits[kind]
        if permits.waits_for_own_share(whom):
            return self._share_wait_s
        return self._queues[kind].limit_s(asyncio.get_running_loop().time(), is_empty=not permits.is_waited_for)


def _customers_permits(settings: UpstreamSettings) -> FairPermits:
    return FairPermits(
        permits_max=settings.in_flight_max,
        permits_per_holder_max=min(settings.user_in_flight_max, settings.in_flight_max),
        waiting_max=settings.queue_max,
        waiting_per_holder_max=settings.user_queue_max,
    )


def _identity_permits(settings: UpstreamSettings) -> FairPermits:
    """Who logs in is not known yet: a stranger who tries one email again and again must not take its owner's share."""
    return FairPermits(
        permits_max=settings.identity_in_flight_max,
        permits_per_holder_max=max(1, settings.identity_in_flight_max // 2),
        waiting_max=settings.queue_max,
        waiting_per_holder_max=settings.queue_max,
    )
