"""Requests of a halted user wait here instead of failing, while the user moves or until the lease on the user ends.

Writes, while the cell that owns the user is about to let them go; reads too, once it has, until the next one has taken
them over: the cell says to which it refuses. Reads pass by the queue until they are refused themselves.

Per user a queue in the order of arrival, bounded in number and in time. The first of a queue is sent again when the map
changes, when the lease ends, and now and then in between; the others follow one by one once it gets another answer than
`USER_HALTED`, so they reach the owner in order. Nothing of what is held has been done, so whoever waits too long, or
finds the queue full, gets a plain 503 with `Retry-After`. What is held takes no permit of a cell.
"""

import asyncio
from bisect import insort
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from infra.runtime.clock import SystemClock
from router.cell_body import decode_body
from router.errors import UserHalted
from router.settings import HoldSettings

_FIRST_PAUSE_S: Final = 0.02
"""Before a held request is tried again. It doubles each time: a short move costs little, a long one few requests."""
_PAUSE_MAX_S: Final = 0.16
"""A sixth of a usual lease (1 s): what a request may be late after a move whose map did not come."""
_MARK: Final = b'"USER_HALTED"'


class HaltedAnswer(msgspec.Struct):
    """What we read of the cell's refusal."""

    code: str
    lease_ends_at: datetime | None = None


def read_halted(status: int, body: bytes) -> HaltedAnswer | None:
    """The refusal that means: nothing was done, ask again in a moment."""
    if status != 503 or _MARK not in body:
        return None
    answer = decode_body(body, HaltedAnswer)
    return answer if answer is not None and answer.code == "USER_HALTED" else None


class Holding:
    """All queues of one router. `now` is the time of day, by which leases end."""

    def __init__(self, settings: HoldSettings, now: Callable[[], float] | None = None) -> None:
        self._settings = settings
        self.now = now or SystemClock().epoch_s
        self.queues: dict[UUID, UserQueue] = {}
        self.waiting = 0
        self.held = 0
        self.given_up = 0
        self.shed = 0

    def enqueue(self, user_id: UUID, arrived_s: float, within_s: float) -> "Waiter":
        """Wait in the user's queue, for `wait_s` or as long as the request itself has time (`within_s`). Raises
        `UserHalted` when this queue, or all of them together, are full."""
        queue = self.queues.get(user_id)
        if self.waiting >= self._settings.waiting_max or (
            queue is not None and len(queue.waiters) >= self._settings.waiting_per_user_max
        ):
            self.shed += 1
            raise UserHalted("the account is being moved and too many requests wait for it; nothing was done")
        if queue is None:
            queue = self.queues[user_id] = UserQueue(self, user_id)
        until_s = asyncio.get_running_loop().time() + min(self._settings.wait_s, within_s)
        waiter = Waiter(queue, arrived_s, until_s)
        insort(queue.waiters, waiter, key=_arrival)
        self.waiting += 1
        self.held += 1
        return waiter

    def map_changed(self) -> None:
        """Perhaps the move is over: the first of every queue may ask at once."""
        for queue in self.queues.values():
            queue.not_before_s = 0.0
            queue.wake()


class UserQueue:
    """The held requests of one user, earliest first. At most one of them is on its way to a cell."""

    __slots__ = ("holding", "not_before_s", "pause_s", "sending", "user_id", "waiters")

    def __init__(self, holding: Holding, user_id: UUID) -> None:
        self.holding = holding
        self.user_id = user_id
        self.waiters: list[Waiter] = []
        self.sending: Waiter | None = None
        self.pause_s = _FIRST_PAUSE_S
        self.not_before_s = 0.0

    def wake(self) -> None:
        for waiter in self.waiters:
            waiter.woken.set()


class Waiter:
    """One held request in its queue."""

    __slots__ = ("_queue", "abandoned", "arrived_s", "deadline_s", "woken")

    def __init__(self, queue: UserQueue, arrived_s: float, deadline_s: float) -> None:
        self._queue = queue
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.abandoned = False
        self.woken = asyncio.Event()

    async def wait(self) -> None:
        """Wait until this request may be sent. Raises `UserHalted` when its time is up or nobody waits any more.

        Woken for any reason, it looks again: it goes if it is first, none of its queue is on its way, and the pause is
        over. Else it sleeps until it is woken, the pause ends (only the first), or its own time is up.
        """
        queue, loop = self._queue, asyncio.get_running_loop()
        while queue.sending is not self:
            now_s = loop.time()
            if self.abandoned or now_s >= self.deadline_s:
                queue.holding.given_up += 1
                raise UserHalted("the account is being moved and that took too long; nothing was done, send it again")
            until_s = self.deadline_s
            if queue.sending is None and queue.waiters[0] is self:
                if now_s >= queue.not_before_s:
                    queue.sending = self
                    return
                until_s = min(until_s, queue.not_before_s)
            self.woken.clear()
            try:
                async with asyncio.timeout(until_s - now_s):
                    await self.woken.wait()
            except TimeoutError:
                continue

    def still_halted(self, answer: HaltedAnswer) -> None:
        """The cell refused again: the queue pauses, but not beyond the end of the lease."""
        queue = self._queue
        pause_s = queue.pause_s
        queue.pause_s = min(pause_s * 2, _PAUSE_MAX_S)
        if answer.lease_ends_at is not None and answer.lease_ends_at.tzinfo is not None:
            left_s = answer.lease_ends_at.timestamp() - queue.holding.now()
            if left_s > -_PAUSE_MAX_S:  # else it is long over by our clock, and the cell's is the one that counts
                pause_s = min(pause_s, max(left_s, _FIRST_PAUSE_S / 4))
        queue.not_before_s = asyncio.get_running_loop().time() + pause_s
        if queue.sending is self:  # not if it was sent before there was a queue: another one may be on its way
            queue.sending = None
        queue.wake()

    def asks_elsewhere(self) -> None:
        """The user has left the cell that refused. The next one takes over within moments: pauses are short again."""
        self._queue.pause_s = _FIRST_PAUSE_S

    def abandon(self) -> None:
        """The client left. What was not sent yet never will be."""
        self.abandoned = True
        self.woken.set()

    def leave(self) -> None:
        """Answered, refused or gone: the next one's turn."""
        queue = self._queue
        queue.waiters.remove(self)
        queue.holding.waiting -= 1
        if queue.sending is self:
            queue.sending = None
        if queue.waiters:
            queue.wake()
        else:
            del queue.holding.queues[queue.user_id]


def _arrival(waiter: Waiter) -> float:
    return waiter.arrived_s
