"""A router that stood still judges nobody late before it has read what came meanwhile."""

import asyncio
import time
from contextlib import aclosing

import pytest

from router.bulkhead import Bulkhead
from router.kinds import Kind
from router.settings import UpstreamSettings
from router.ticking import STANDSTILL_S, ticks, time_limit

pytestmark = pytest.mark.anyio
EVERY_S = 0.2


async def test_the_first_tick_after_a_standstill_is_left_out() -> None:
    loop = asyncio.get_running_loop()
    async with aclosing(ticks(lambda: EVERY_S)) as turns:
        await anext(turns)
        waiting = asyncio.ensure_future(anext(turns))
        await asyncio.sleep(0)
        time.sleep(EVERY_S + STANDSTILL_S + 0.1)  # noqa: ASYNC251 - nothing in this process runs, as if it were frozen
        goes_on_s = loop.time()
        assert await waiting >= goes_on_s + EVERY_S / 2, "judged before anything could be read"


async def test_ticks_come_again_and_again() -> None:
    async with aclosing(ticks(lambda: 0.01)) as turns:
        seen = [await anext(turns) for _ in range(5)]
    assert seen == sorted(seen)


def stand_still(for_s: float) -> None:
    time.sleep(for_s)  # nothing in this process runs, as if it were frozen


async def test_what_passed_while_standing_still_is_not_waited_for() -> None:
    bulkhead = Bulkhead(UpstreamSettings(in_flight_max=1, queue_max=2, queue_wait_s=EVERY_S))
    reads = bulkhead.permits[Kind.READ]
    assert reads.try_acquire(0)
    waiting = [asyncio.create_task(bulkhead.acquire(Kind.READ, number)) for number in (1, 2)]
    await asyncio.sleep(0.01)
    stand_still(EVERY_S + STANDSTILL_S + 0.1)
    await asyncio.sleep(0.01)  # every timer is late by now
    for number, place in enumerate(waiting):
        reads.release(number)  # an answer that had come meanwhile
        await place
    assert (bulkhead.in_flight, bulkhead.queued, sum(bulkhead.shed)) == (1, 0, 0)


async def test_a_time_limit_is_kept_also_after_standing_still() -> None:
    async def wait_for_ever(stands_still_s: float) -> None:
        async with time_limit(EVERY_S):
            stand_still(stands_still_s)
            await asyncio.sleep(30)

    for stands_still_s in (0.0, EVERY_S + STANDSTILL_S + 0.1):
        with pytest.raises(TimeoutError):
            await wait_for_ever(stands_still_s)
    async with time_limit(EVERY_S):
        await asyncio.sleep(0)
    await asyncio.sleep(2 * EVERY_S)  # nothing is left of it that could hit somebody else
