"""The worker's clock: its database's, so that a cell has one.

App servers let the database judge, under the user's lock, which session an order belongs to. The worker, which opens
and closes the day, asks the same clock: now and then it reads it, and counts on with its own monotonic clock. So the
time here is never later than the database's, and behind it by no more than the answer took to come: nothing is released
before the open or expired before the close by whatever the machine of the worker believes.
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cell.executions.queries import read_clock
from cell.executions.repeating import Failures, repeat
from infra.runtime.database import Pool

READ_PERIOD_S: Final = 1.0
"""Between readings: what two clocks drift apart in a second is far below a millisecond."""
READINGS: Final = 8
"""The quickest answer of the last few counts; a database whose clock was put back is believed after as many."""


class DatabaseClock:
    """A `Clock`, once it was read."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began_s: deque[float] = deque(maxlen=READINGS)
        """When our monotonic clock was zero, by the database's clock, in seconds since 1970."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(max(self._began_s) + self._monotonic(), UTC)

    def monotonic(self) -> float:
        return self._monotonic()

    async def read(self, pool: Pool) -> None:
        """Raises a DatabaseFailure."""
        at = await read_clock(pool)
        self._began_s.append(at.timestamp() - self._monotonic())

    async def follow(self, pool: Pool, failures: Failures) -> None:
        """Read until cancelled; while the database is away, the last reading is counted on."""
        await repeat("clock", lambda: self.read(pool), failures, every_s=READ_PERIOD_S, first_after_s=READ_PERIOD_S)
