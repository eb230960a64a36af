"""Permits to something shared and bounded (a cell, a pool of connections), given out fairly over those who ask.

A holder (a user, as a rule) never has more than its share, so one who asks for everything leaves room for the others.
Waiters queue per holder, and freed permits go round robin over the holders: a first request does not wait behind the
hundredth of somebody else. When too many wait, the longest queue loses its newest waiter.

Costs two dictionaries: no task, no lock, no timer; the caller brings the time limit of its wait. For one event loop.
After a timeout or a cancellation nothing is held and nobody is left in a queue.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager


class NoPermit(Exception):
    """Not in time, or not at all; nothing is held."""


class ShareExhausted(NoPermit):
    """The holder has its share, and as many waiters as it may."""


class PermitsExhausted(NoPermit):
    """The permits are in others' use."""


class FairPermits:
    """`permits_max` in use at once, `permits_per_holder_max` of one holder; `waiting_max` may wait, of one holder
    `waiting_per_holder_max`."""

    __slots__ = (
        "_held",
        "_permits_max",
        "_permits_per_holder_max",
        "_queues",
        "_round_robin",
        "_waiting_max",
        "_waiting_per_holder_max",
        "in_use",
        "waiting",
    )

    def __init__(
        self, *, permits_max: int, permits_per_holder_max: int, waiting_max: int, waiting_per_holder_max: int
    ) -> None:
        self._permits_max = permits_max
        self._permits_per_holder_max = permits_per_holder_max
        self._waiting_max = waiting_max
        self._waiting_per_holder_max = waiting_per_holder_max
        self._held: dict[Hashable, int] = {}
        self._queues: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._round_robin: OrderedDict[Hashable, None] = OrderedDict()
        """Those holders of `_queues` that have room in their share, next first. Not empty only while all permits are
        in use."""
        self.in_use = 0
        self.waiting = 0

    def try_acquire(self, holder: Hashable) -> bool:
        """A permit at once, if one is free and the holder's share is not exhausted."""
        held = self._held.get(holder, 0)
        if self.in_use >= self._permits_max or held >= self._permits_per_holder_max:
            return False
        self._held[holder] = held + 1
        self.in_use += 1
        return True

    def has_full_share(self, holder: Hashable) -> bool:
        """Whether the holder can get no further permit before it gives one back."""
        return self._held.get(holder, 0) >= self._permits_per_holder_max

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits because all permits are in use, not only because their own share is."""
        return bool(self._round_robin)

    def waits_for_own_share(self, holder: Hashable) -> bool:
        """Whether there are permits, and the holder must give back one of its own first."""
        return self.in_use < self._permits_max and self.has_full_share(holder)

    async def acquire(self, holder: Hashable, limit: AbstractAsyncContextManager[object]) -> None:
        """A permit when it is the holder's turn. Raises `ShareExhausted` or `PermitsExhausted`: too many wait, or
        `limit` (such as `asyncio.timeout`) ended the wait.

        The waiter's future and the wait end apart, so four ends are told apart: granted in time; not granted, and the
        wait timed out or was cancelled (the waiter leaves its queue); granted or shed in the moment of the timeout
        (what the future says holds); granted in the moment of a cancellation (the permit goes back).
        """
        if self.try_acquire(holder):
            return
        waiter = self._join_queue(holder)
        try:
            async with limit:
                await asyncio.shield(waiter)
        except (TimeoutError, asyncio.CancelledError) as error:
            is_timeout = isinstance(error, TimeoutError)
            if not waiter.done():
                self._leave_queue(holder, waiter)
                if is_timeout:
                    raise self._refusal(holder) from error
            elif is_timeout:
                # What the future says holds, though the time is over: granted, or shed with its reason.
                waiter.result()
                return
            elif waiter.exception() is None:
                # Granted in the moment of the cancellation: nobody will use it.
                self.release(holder)
            raise

    def release(self, holder: Hashable) -> None:
        """Give back the permit and its part of the share; the next waiter gets them."""
        self.in_use -= 1
        self.release_share(holder)

    def release_permit(self, holder: Hashable) -> None:
        """Give back the permit alone: it is for others, and the share stays used until `release_share`."""
        self.in_use -= 1
        self._grant()

    def release_share(self, holder: Hashable) -> None:
        """The second half of `release`, after `release_permit`."""
        left = self._held[holder] - 1
        assert left >= 0
        assert self.in_use >= 0
        if left:
            self._held[holder] = left
        else:
            del self._held[holder]
        if self._queues:
            if holder in self._queues:
                self._round_robin.setdefault(holder)
            self._grant()

    def _grant(self) -> None:
        while self._round_robin and self.in_use < self._permits_max:
            holder, _ = self._round_robin.popitem(last=False)
            queue = self._queues[holder]
            waiter = queue.popleft()
            self.waiting -= 1
            self.in_use += 1
            self._held[holder] = held = self._held.get(holder, 0) + 1
            waiter.set_result(None)
            if not queue:
                del self._queues[holder]
            # Back to the end of the row; who has a full share returns when it gives one back (`release_share`).
            elif held < self._permits_per_holder_max:
                self._round_robin[holder] = None

    def _join_queue(self, holder: Hashable) -> "asyncio.Future[None]":
        queue = self._queues.get(holder)
        length = 0 if queue is None else len(queue)
        if length >= self._waiting_per_holder_max:
            raise ShareExhausted
        if self.waiting >= self._waiting_max:
            self._shed_newest_of_longest(length + 1)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if queue is None:
            self._queues[holder] = deque((waiter,))
            if self._held.get(holder, 0) < self._permits_per_holder_max:
                self._round_robin[holder] = None
        else:
            queue.append(waiter)
        self.waiting += 1
        return waiter

    def _shed_newest_of_longest(self, length: int) -> None:
        """Make room for a waiter whose queue will be `length` long. Raises `PermitsExhausted` if none is longer."""
        longest = max(self._queues, key=lambda each: len(self._queues[each]), default=None)
        # The newcomer's queue would be the longest: it is the one that is too much.
        if longest is None or len(self._queues[longest]) <= length:
            raise PermitsExhausted
        newest = self._queues[longest][-1]
        self._leave_queue(longest, newest)
        newest.set_exception(self._refusal(longest))

    def _leave_queue(self, holder: Hashable, waiter: "asyncio.Future[None]") -> None:
        queue = self._queues[holder]
        queue.remove(waiter)
        self.waiting -= 1
        if not queue:
            del self._queues[holder]
            self._round_robin.pop(holder, None)

    def _refusal(self, holder: Hashable) -> NoPermit:
        return ShareExhausted() if self.waits_for_own_share(holder) else PermitsExhausted()
