"""Who stood still himself judges nobody late before he has read what came meanwhile."""

import asyncio
import time
from contextlib import aclosing

import pytest

from router.ticking import STANDSTILL_S, ticks

pytestmark = pytest.mark.anyio
EVERY_S = 0.2


async def test_the_first_turn_after_a_standstill_is_left_out() -> None:
    loop = asyncio.get_running_loop()
    async with aclosing(ticks(lambda: EVERY_S)) as turns:
        await anext(turns)
        waiting = asyncio.ensure_future(anext(turns))
        await asyncio.sleep(0)
        time.sleep(EVERY_S + STANDSTILL_S + 0.1)  # noqa: ASYNC251 - nothing in this process runs, as if it were frozen
        goes_on_s = loop.time()
        assert await waiting >= goes_on_s + EVERY_S / 2, "judged before anything could be read"


async def test_turns_come_again_and_again() -> None:
    async with aclosing(ticks(lambda: 0.01)) as turns:
        seen = [await anext(turns) for _ in range(5)]
    assert seen == sorted(seen)
