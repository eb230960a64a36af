"""When the next call of a loop may start: at once after a rest, otherwise a moment after the last one, so that what
arrives meanwhile shares a call. A loop with a full batch in hand need not ask.

A call costs the database as much as its first dozen rows. A loop that starts one for whatever is there keeps the
machine busy with calls of two rows each, and takes from the customers who wait for an answer what nobody gains: at 900
orders a second on two cores, periods of 25 ms instead of 10 took their p50 from 8.6 to 5.5 ms and their p99 from 34 to
15. Nobody waits for what is paced, and a fill that is told 15 ms later is not noticed.
"""

import asyncio
import time


class Pace:
    """Shared by the loops whose calls it spaces."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._next_at = 0.0

    async def turn(self) -> None:
        """Wait until a call may start."""
        pause_s = self._next_at - time.monotonic()
        if pause_s > 0:
            await asyncio.sleep(pause_s)

    def started(self) -> None:
        """A call starts now."""
        self._next_at = time.monotonic() + self._period_s
