"""How many requests may be inside one cell, and how many may wait for it. A sick cell fills its own and nobody
else's."""

import asyncio
from collections import deque

from router.errors import CellOverloaded
from router.ticking import time_limit


class Bulkhead:
    __slots__ = ("_in_flight_max", "_queue_max", "_queue_wait_s", "_waiting", "in_flight", "turned_away")

    def __init__(self, *, in_flight_max: int, queue_max: int, queue_wait_s: float) -> None:
        self._in_flight_max = in_flight_max
        self._queue_max = queue_max
        self._queue_wait_s = queue_wait_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0
        self.turned_away = 0

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def try_enter(self) -> bool:
        """A place at once, if there is one and nobody waits for it."""
        if self.in_flight < self._in_flight_max and not self._waiting:
            self.in_flight += 1
            return True
        return False

    async def enter(self) -> None:
        """A place, or `CellOverloaded` when the queue is full or the wait too long."""
        if self.try_enter():
            return
        if len(self._waiting) >= self._queue_max:
            self.turned_away += 1
            raise CellOverloaded("the cell has more requests waiting than it can serve in time")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with time_limit(self._queue_wait_s):
                await asyncio.shield(place)
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done():
                if isinstance(error, asyncio.CancelledError):
                    self.leave()
                    raise
                return  # given in the same moment: take it
            self._waiting.remove(place)
            if isinstance(error, asyncio.CancelledError):
                raise
            self.turned_away += 1
            raise CellOverloaded("the cell did not get to this request in time") from error

    def leave(self) -> None:
        """Give the place back: to the one who waits longest, else to nobody."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)  # in_flight stays: the place changes hands
                return
        self.in_flight -= 1
        assert self.in_flight >= 0
