"""So many requests a second of all users together, and nobody's demand eats another's part. Pure: time is passed in.

A token bucket (GCRA, one float) with two levels. Each user who asked lately has an equal part of the rate, with a
bucket of their own. Within it they may empty the common one; beyond it they may take what others leave, down to half,
so a quiet user finds tokens beside any number of greedy ones. Alone, one user gets the whole rate. Nobody waits here.

In any window of T seconds at most `per_s` * T + `burst` are taken. What is refused takes nothing.
"""

from collections.abc import Hashable
from typing import Final

_BURST_S: Final = 0.25
"""Seconds of the rate that may come at once after a pause: a cell's queue of them drains within an order's deadline."""
_BURST_MIN: Final = 10.0
"""Tokens. Customers come at random moments: with fewer, a rate far above what is asked for would refuse some of it."""
_RESERVED_SHARE: Final = 0.5
"""Of the bucket, for those within their part."""
_PARTS_SHARE: Final = 0.9
"""Of the rate, that all parts are together. Parts of all of it would let those who ask for more than theirs keep the
bucket empty for good, by what rounds and jitters (found by the test of the quiet user)."""
_USER_BURST: Final = 2
"""An order, and the next one: what a person sends at once. More at once is taken from what others leave."""
_LATELY_S: Final = 5.0
"""Who asked within this or the window before shares the rate. Shorter, and slow customers would be overlooked; longer,
and those who left would still count."""
_TRACKED_MAX: Final = 100_000
"""Users counted in one window; beyond them parts get no smaller. About 100 bytes each."""
_ROUNDING_S: Final = 1e-9
"""A nanosecond: what sums of floats may be short of a whole token, and no request's wait."""


class FairRate:
    """`take` for each request; a refusal is for now, and nothing is remembered of it but that the user asked."""

    __slots__ = (
        "_asked",
        "_asked_before",
        "_full_at_s",
        "_interval_s",
        "_user_full_at_s",
        "_window_began_s",
        "burst",
        "per_s",
    )

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self.burst = max(_BURST_MIN, per_s * _BURST_S)
        self._interval_s = 1.0 / per_s
        self._full_at_s = 0.0
        self._user_full_at_s: dict[Hashable, float] = {}
        self._asked: set[Hashable] = set()
        self._asked_before = 0
        self._window_began_s = 0.0

    def take(self, user: Hashable, now_s: float) -> bool:
        """One request. False: not now, and nothing was taken."""
        if now_s - self._window_began_s >= _LATELY_S:
            self._begin_window(now_s)
        asked = self._asked
        if len(asked) < _TRACKED_MAX:
            asked.add(user)
        interval_s = self._interval_s
        full_at_s = max(self._full_at_s, now_s) + interval_s
        part_s = interval_s * max(self._asked_before, len(asked)) / _PARTS_SHARE
        allowance_s = part_s * _USER_BURST
        user_full_at_s = max(self._user_full_at_s.get(user, 0.0), now_s) + part_s
        within_part = user_full_at_s - now_s <= allowance_s + _ROUNDING_S
        tokens = self.burst if within_part else self.burst * (1.0 - _RESERVED_SHARE)
        if full_at_s - now_s > tokens * interval_s + _ROUNDING_S:
            return False
        self._full_at_s = full_at_s
        self._user_full_at_s[user] = min(user_full_at_s, now_s + allowance_s)
        return True

    def tokens(self, now_s: float) -> float:
        """That are there now, the reserved ones among them."""
        return self.burst - max(0.0, self._full_at_s - now_s) / self._interval_s

    def _begin_window(self, now_s: float) -> None:
        """Forget whose own bucket is full again: they are like anybody new. A second pause makes everybody new."""
        is_next = now_s - self._window_began_s < 2 * _LATELY_S
        self._asked_before = len(self._asked) if is_next else 0
        self._asked = set()
        self._window_began_s = now_s
        self._user_full_at_s = {user: at_s for user, at_s in self._user_full_at_s.items() if at_s > now_s}
