"""Ticks and time limits for those who judge others late: not right after this process itself stood still.

A frozen router (SIGSTOP, a machine that pauses) finds all its deadlines past when it goes on, and answers and requests
that came in time lie unread in its sockets. So the first tick after a standstill is left out, and a wait that ended in
one begins anew, and they are read.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

STANDSTILL_S: Final = 0.5
"""Later than any timer of a router that is merely busy."""


async def ticks(every_s: Callable[[], float]) -> AsyncGenerator[float, None]:
    """The loop's time, at each tick."""
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


@asynccontextmanager
async def time_limit(limit_s: float) -> AsyncGenerator[None, None]:
    """`asyncio.timeout`, but whoever stood still until long after it has as much time once more: a limit of a few
    milliseconds is not the process's own pause (a collection of garbage) times a queue of those who did nothing."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def judge(due_s: float) -> None:
        nonlocal timer
        if loop.time() - due_s > min(STANDSTILL_S, limit_s):
            timer = loop.call_later(limit_s, limit.reschedule, 0.0)
        else:
            limit.reschedule(0.0)

    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(limit_s, judge, loop.time() + limit_s)
        try:
            yield
        finally:
            timer.cancel()
