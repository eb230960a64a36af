"""A few places of something shared (a cell, a connection), given out fairly over those who ask.

Nobody has more than his share, so one who asks for everything leaves room for the others. Who has to wait stands in a
line of his own, and the lines take turns: a first request does not wait behind the hundredth of somebody else. When too
many wait, the longest line loses its newest. Counting costs two dictionaries: no task, no lock, no timer; who waits
brings the limit of his wait. In one event loop.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager


class NoPlace(Exception):
    """Not in time, or not at all; nothing is held."""


class ShareTaken(NoPlace):
    """He has his share, and as many waiting as he may."""


class AllTaken(NoPlace):
    """The places are others'."""


class FairPlaces:
    """`places_max` at once, of them `of_one_max` for one; `waiting_max` may wait, `waiting_of_one_max` of one."""

    __slots__ = (
        "_held",
        "_lines",
        "_of_one_max",
        "_places_max",
        "_turns",
        "_waiting_max",
        "_waiting_of_one_max",
        "taken",
        "waiting",
    )

    def __init__(self, *, places_max: int, of_one_max: int, waiting_max: int, waiting_of_one_max: int) -> None:
        self._places_max = places_max
        self._of_one_max = of_one_max
        self._waiting_max = waiting_max
        self._waiting_of_one_max = waiting_of_one_max
        self._held: dict[Hashable, int] = {}
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._turns: OrderedDict[Hashable, None] = OrderedDict()
        """Of those in `_lines` whoever has room in his share, next first. If there is anybody, all places are taken."""
        self.taken = 0
        self.waiting = 0

    def try_enter(self, whom: Hashable) -> bool:
        """A place at once, if one is free and his share is not taken."""
        held = self._held.get(whom, 0)
        if self.taken >= self._places_max or held >= self._of_one_max:
            return False
        self._held[whom] = held + 1
        self.taken += 1
        return True

    def has_share(self, whom: Hashable) -> bool:
        """All of it."""
        return self._held.get(whom, 0) >= self._of_one_max

    async def enter(self, whom: Hashable, limit: AbstractAsyncContextManager[object]) -> None:
        """A place when it is his turn. Raises `ShareTaken` or `AllTaken`: too many wait, or `limit` timed out."""
        if self.try_enter(whom):
            return
        place = self._join(whom)
        try:
            async with limit:
                await asyncio.shield(place)
        except (TimeoutError, asyncio.CancelledError) as error:
            is_timeout = isinstance(error, TimeoutError)
            if not place.done():
                self._leave_line(whom, place)
                if is_timeout:
                    raise self._why(whom) from error
            elif is_timeout:
                place.result()  # given, or turned away, in the same moment
                return
            elif place.exception() is None:
                self.leave(whom)
            raise

    def leave(self, whom: Hashable) -> None:
        """Give the place back, and the share with it: to whose turn it is."""
        self.taken -= 1
        self.leave_share(whom)

    def vacate(self, whom: Hashable) -> None:
        """The place is for others, but his share stays taken until `leave_share`."""
        self.taken -= 1
        self._hand_on()

    def leave_share(self, whom: Hashable) -> None:
        left = self._held[whom] - 1
        assert left >= 0
        assert self.taken >= 0
        if left:
            self._held[whom] = left
        else:
            del self._held[whom]
        if self._lines:
            if whom in self._lines:
                self._turns.setdefault(whom)
            self._hand_on()

    def _hand_on(self) -> None:
        while self._turns and self.taken < self._places_max:
            whom, _ = self._turns.popitem(last=False)
            line = self._lines[whom]
            place = line.popleft()
            self.waiting -= 1
            self.taken += 1
            self._held[whom] = held = self._held.get(whom, 0) + 1
            place.set_result(None)
            if not line:
                del self._lines[whom]
            elif held < self._of_one_max:
                self._turns[whom] = None

    def _join(self, whom: Hashable) -> "asyncio.Future[None]":
        line = self._lines.get(whom)
        length = 0 if line is None else len(line)
        if length >= self._waiting_of_one_max:
            raise ShareTaken
        if self.waiting >= self._waiting_max:
            self._make_room(length + 1)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if line is None:
            self._lines[whom] = deque((place,))
            if self._held.get(whom, 0) < self._of_one_max:
                self._turns[whom] = None
        else:
            line.append(place)
        self.waiting += 1
        return place

    def _make_room(self, length: int) -> None:
        """For one whose line will be as long; not if that is as long as the longest."""
        whom = max(self._lines, key=lambda each: len(self._lines[each]), default=None)
        if whom is None or len(self._lines[whom]) <= length:
            raise AllTaken
        newest = self._lines[whom][-1]
        self._leave_line(whom, newest)
        newest.set_exception(self._why(whom))

    def _leave_line(self, whom: Hashable, place: "asyncio.Future[None]") -> None:
        line = self._lines[whom]
        line.remove(place)
        self.waiting -= 1
        if not line:
            del self._lines[whom]
            self._turns.pop(whom, None)

    def _why(self, whom: Hashable) -> NoPlace:
        return ShareTaken() if self.has_share(whom) and self.taken < self._places_max else AllTaken()
