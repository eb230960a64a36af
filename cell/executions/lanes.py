"""Which reports may be applied now: one lane per user, in order of the inbox, at most one report of a user at a time.

Pure: the time comes in. A report that was deferred waits a little longer each time, and its user's later ones with it;
other users go on. Reports that belong to no user have a lane each. A report that came late (back from waiting, or found
in the inbox) has the place of its id, behind one that is being applied; if that one is deferred, because the database
knows of an older one, the older one goes first.

A lane remembers so many reports and no more: the rest of that user's are left in the inbox, where they are safe, and
are read when the lane is empty. So who is locked for long, or has thousands, fills nobody else's room.
"""

from bisect import insort
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final
from uuid import UUID

DEFER_S: Final = (0.005, 1.0)
"""The pause of a deferred report, doubling from the first to the second: a neighbour's write is over in milliseconds, a
halt or a move takes longer."""
LANE_MAX: Final = 512
"""Reports of one user in memory; applying them takes longer than reading the next ones."""


@dataclass(slots=True)
class _Lane:
    waiting: deque[int] = field(default_factory=deque)
    deferrals: int = 0
    is_being_applied: bool = False
    """The first one is being applied."""
    is_held: bool = False
    """It waits for a time to come."""
    has_more: bool = False
    """Later ones are in the inbox and not here."""


class ReportLanes:
    """Inbox ids on their way to being applied."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane] = {}
        self._lane_of: dict[int, Hashable] = {}
        self._ready: deque[Hashable] = deque()
        self._later: list[tuple[float, int, Hashable]] = []
        self._tie = count()
        self._held = 0
        self._emptied: deque[UUID] = deque()

    def __len__(self) -> int:
        """Reports that are not applied yet, those being applied included."""
        return len(self._lane_of) + len(self._emptied)

    @property
    def free(self) -> int:
        """Those of them that wait for no other writer."""
        return len(self) - self._held

    def next_emptied(self) -> UUID | None:
        """A user whose lane is empty and who has more in the inbox: what is there must be added."""
        return self._emptied.popleft() if self._emptied else None

    def empty(self, user_id: UUID) -> None:
        """What is there could not be read."""
        self._emptied.append(user_id)

    def add(self, inbox_id: int, user_id: UUID | None) -> bool:
        """A report was committed to the inbox. False: it is known, or left there until its user's lane is empty."""
        if inbox_id in self._lane_of:
            return False
        key: Hashable = inbox_id if user_id is None else user_id
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            self._ready.append(key)
        if lane.waiting and inbox_id < lane.waiting[-1]:  # the others wait for it: there is always room
            insort(lane.waiting, inbox_id, lo=int(lane.is_being_applied))
        elif lane.has_more or len(lane.waiting) >= LANE_MAX:
            lane.has_more = True
            return False
        else:
            lane.waiting.append(inbox_id)
        self._lane_of[inbox_id] = key
        self._held += lane.is_held
        return True

    def take(self, limit: int, now_s: float) -> list[int]:
        """The next reports to apply, each of another user; their lanes stand still until `finish` or `defer`."""
        while self._later and self._later[0][0] <= now_s:
            key = heappop(self._later)[2]
            self._lanes[key].is_held = False
            self._held -= len(self._lanes[key].waiting)
            self._ready.append(key)
        taken: list[int] = []
        while self._ready and len(taken) < limit:
            lane = self._lanes[self._ready.popleft()]
            lane.is_being_applied = True
            taken.append(lane.waiting[0])
        return taken

    def finish(self, inbox_id: int) -> None:
        """The report needs no more attention; its user's next one may go."""
        key = self._lane_of.pop(inbox_id)
        lane = self._lanes[key]
        lane.waiting.popleft()
        lane.deferrals, lane.is_being_applied = 0, False
        if lane.waiting:
            self._ready.append(key)
            return
        del self._lanes[key]
        if lane.has_more and isinstance(key, UUID):
            self._emptied.append(key)

    def defer(self, inbox_id: int, now_s: float) -> None:
        """Not now: another writer has the user, or the user is halted or gone."""
        key = self._lane_of[inbox_id]
        lane = self._lanes[key]
        pause_s = min(DEFER_S[1], DEFER_S[0] * 2**lane.deferrals)
        lane.deferrals, lane.is_being_applied, lane.is_held = min(lane.deferrals + 1, 16), False, True
        self._held += len(lane.waiting)
        insort(lane.waiting, lane.waiting.popleft())
        heappush(self._later, (now_s + pause_s, next(self._tie), key))

    def next_moment_s(self) -> float | None:
        """When a deferred report may be tried again; None if nothing waits for time."""
        return self._later[0][0] if self._later else None
