"""How late an event loop runs its timers: what every request in this process waits beside its own work.

A timer that measures its own lateness: two a second, some microseconds each. It stops with the block. A loop that
stands still for longer than an interval is seen once, with the whole length.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import Histogram

INTERVAL_S: Final = 0.5
"""Short enough for thirty samples between two scrapes of 15 s, long enough to cost nothing."""


@asynccontextmanager
async def measured_lag(lag: Histogram) -> AsyncIterator[None]:
    """Observe the running loop's lateness, in seconds, while the block runs."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def schedule() -> None:
        nonlocal timer
        timer = loop.call_later(INTERVAL_S, observe, time.monotonic() + INTERVAL_S)

    def observe(due_s: float) -> None:
        # the loop's own clock stands still during a turn, so the real one is asked; uvloop may be a millisecond early
        lag.observe(max(0.0, time.monotonic() - due_s))
        schedule()

    schedule()
    try:
        yield
    finally:
        timer.cancel()
