"""Turns for those who judge others late: every so often, but not right after this process itself stood still.

A frozen router (SIGSTOP, a machine that pauses) finds all its deadlines past when it goes on, and answers and requests
that came in time lie unread in its sockets. So the first turn after a standstill is left out, and they are read.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

STANDSTILL_S: Final = 0.5
"""Later than any timer of a router that is merely busy."""


async def ticks(every_s: Callable[[], float]) -> AsyncGenerator[float, None]:
    """The loop's time, at each turn."""
    loop = asyncio.get_running_loop()
    left_out = False
    while True:
        pause_s = every_s()
        due_s = loop.time() + pause_s
        await asyncio.sleep(pause_s)
        stood_still = loop.time() - due_s > STANDSTILL_S
        if stood_still and not left_out:  # never two in a row: whoever is always late must judge all the same
            left_out = True
            continue
        left_out = False
        yield loop.time()
