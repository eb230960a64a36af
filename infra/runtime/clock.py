"""Time and identifiers, passed in.

Code that needs the time or a new id takes a `Clock` or an id source as an argument, so a test can say what time it is
and what the next id will be. Nothing here sleeps or caches.

No other module of ours asks the machine for the time of day (`tests/unit/test_one_clock.py`): a process makes one clock
from its settings, and its database sessions get the same offset, so a drill that puts the clock forward moves all
of them together. Monotonic clocks are not shifted: a deadline is a length, and a second of it is a second.
"""

import logging
import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

_log = logging.getLogger(__name__)


@runtime_checkable
class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock, put forward by an offset."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self._offset_s = offset_s
        self._offset = timedelta(seconds=offset_s)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def epoch_s(self) -> float:
        """Seconds since 1970: `now` for those who compare many times a millisecond."""
        return time.time() + self._offset_s

    def epoch_us(self) -> int:
        """Microseconds since 1970."""
        return time.time_ns() // 1_000 + round(self._offset_s * 1_000_000)

    def monotonic(self) -> float:
        return time.monotonic()


def make_clock(offset_s: float) -> SystemClock:
    """The one clock of a process, as its settings say. A shifted one is logged."""
    if offset_s:
        _log.warning("this clock is shifted", extra={"offset_s": offset_s})
    return SystemClock(offset_s)


class TimeOrderedIds:
    """UUIDs that sort by the time they were made (RFC 9562, version 7).

    Within one process ids strictly grow, also inside a millisecond and when the clock steps back: the 12 bits after the
    timestamp count up, and carry into the timestamp when they are used up. Index pages then fill in order instead of at
    random, and `order by id` is the order of creation.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0  # 48 bits of milliseconds, then 12 bits of counter

    def __call__(self) -> uuid.UUID:
        stamp = int(self._clock.now().timestamp() * 1000) << 12
        self._last = stamp if stamp > self._last else self._last + 1
        high = (self._last >> 12) << 16 | 0x7000 | (self._last & 0xFFF)
        low = 0x8000_0000_0000_0000 | int.from_bytes(os.urandom(8), "big") >> 2
        return uuid.UUID(int=high << 64 | low)
