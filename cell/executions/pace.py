"""When the next call of a loop may start: at once after a rest, otherwise a moment after the last one, so that what
arrives meanwhile shares a call. A loop with a full batch in hand need not ask.

A call costs the database as much as its first dozen rows. A loop that starts one for whatever is there keeps the
machine busy with calls of two rows each, and takes it from the customers who wait for an answer; `loadtests/README.md`
has the figures. The price: an order is sent to the venue up to a claim's period later, and an answer of the venue is
in the books up to an intake's and an application's period later. A user whose own reports come fast has them applied
one in each period, while less than a full call's reports wait.
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
