"""Writes of a halted user wait here instead of failing, while he moves or until the lease on him ends.

Per user a line in the order of arrival, bounded in number and in time. The first of a line is sent again when the map
changes, when the lease ends, and now and then in between; the others follow one by one once it gets another answer than
`USER_HALTED`, so they reach the owner in order. Nothing of a held write has been done, so whoever waits too long, or
finds the line full, gets a plain 503 with `Retry-After`. Held writes take no place in a cell.
"""

import asyncio
from bisect import insort
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from infra.runtime.clock import SystemClock
from router.cell_words import read_words
from router.errors import UserHalted
from router.settings import HoldSettings

_FIRST_PAUSE_S: Final = 0.02
_PAUSE_MAX_S: Final = 0.16
_MARK: Final = b'"USER_HALTED"'


class HaltedAnswer(msgspec.Struct):
    """What we read of the cell's refusal."""

    code: str
    lease_ends_at: datetime | None = None


def read_halted(status: int, body: bytes) -> HaltedAnswer | None:
    """The refusal that means: nothing was done, ask again in a moment."""
    if status != 503 or _MARK not in body:
        return None
    answer = read_words(body, HaltedAnswer)
    return answer if answer is not None and answer.code == "USER_HALTED" else None


class Holding:
    """All lines of one router."""

    def __init__(self, settings: HoldSettings, now: Callable[[], float] | None = None) -> None:
        self._settings = settings
        self.now = now or SystemClock().epoch_s
        self.lines: dict[UUID, Line] = {}
        self.waiting = 0
        self.held = 0
        self.given_up = 0
        self.turned_away = 0

    def join(self, user_id: UUID, arrived_s: float, within_s: float) -> "Ticket":
        """A place in the user's line, for `wait_s` or as long as the write itself has time. Raises `UserHalted` when
        his line, or everybody's together, is full."""
        line = self.lines.get(user_id)
        if self.waiting >= self._settings.waiting_max or (
            line is not None and len(line.tickets) >= self._settings.waiting_per_user_max
        ):
            self.turned_away += 1
            raise UserHalted("the account is being moved and too many writes wait for it; nothing was done")
        if line is None:
            line = self.lines[user_id] = Line(self, user_id)
        until_s = asyncio.get_running_loop().time() + min(self._settings.wait_s, within_s)
        ticket = Ticket(line, arrived_s, until_s)
        insort(line.tickets, ticket, key=_arrival)
        self.waiting += 1
        self.held += 1
        return ticket

    def map_changed(self) -> None:
        """Perhaps the move is over: everybody's first may ask at once."""
        for line in self.lines.values():
            line.not_before_s = 0.0
            line.wake()


class Line:
    """The held writes of one user, earliest first. At most one of them is on its way to a cell."""

    __slots__ = ("holding", "not_before_s", "pause_s", "sending", "tickets", "user_id")

    def __init__(self, holding: Holding, user_id: UUID) -> None:
        self.holding = holding
        self.user_id = user_id
        self.tickets: list[Ticket] = []
        self.sending: Ticket | None = None
        self.pause_s = _FIRST_PAUSE_S
        self.not_before_s = 0.0

    def wake(self) -> None:
        for ticket in self.tickets:
            ticket.woken.set()


class Ticket:
    """One held write's place in its line."""

    __slots__ = ("_line", "abandoned", "arrived_s", "deadline_s", "woken")

    def __init__(self, line: Line, arrived_s: float, deadline_s: float) -> None:
        self._line = line
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.abandoned = False
        self.woken = asyncio.Event()

    async def turn(self) -> None:
        """Wait until this write may be sent. Raises `UserHalted` when its time is up or nobody waits any more."""
        line, loop = self._line, asyncio.get_running_loop()
        while line.sending is not self:
            now_s = loop.time()
            if self.abandoned or now_s >= self.deadline_s:
                line.holding.given_up += 1
                raise UserHalted("the account is being moved and that took too long; nothing was done, send it again")
            until_s = self.deadline_s
            if line.sending is None and line.tickets[0] is self:
                if now_s >= line.not_before_s:
                    line.sending = self
                    return
                until_s = min(until_s, line.not_before_s)
            self.woken.clear()
            try:
                async with asyncio.timeout(until_s - now_s):
                    await self.woken.wait()
            except TimeoutError:
                continue

    def still_halted(self, answer: HaltedAnswer) -> None:
        """The cell refused again: the line pauses, but not beyond the end of the lease."""
        line = self._line
        pause_s = line.pause_s
        line.pause_s = min(pause_s * 2, _PAUSE_MAX_S)
        if answer.lease_ends_at is not None and answer.lease_ends_at.tzinfo is not None:
            left_s = answer.lease_ends_at.timestamp() - line.holding.now()
            if left_s > -_PAUSE_MAX_S:  # else it is long over by our clock, and the cell's is the one that counts
                pause_s = min(pause_s, max(left_s, _FIRST_PAUSE_S / 4))
        line.not_before_s = asyncio.get_running_loop().time() + pause_s
        if line.sending is self:  # not if it was sent before there was a line: another one may be on its way
            line.sending = None
        line.wake()

    def abandon(self) -> None:
        """The client left. What was not sent yet never will be."""
        self.abandoned = True
        self.woken.set()

    def leave(self) -> None:
        """Answered, refused or gone: the next one's turn."""
        line = self._line
        line.tickets.remove(self)
        line.holding.waiting -= 1
        if line.sending is self:
            line.sending = None
        if line.tickets:
            line.wake()
        else:
            del line.holding.lines[line.user_id]


def _arrival(ticket: Ticket) -> float:
    return ticket.arrived_s
