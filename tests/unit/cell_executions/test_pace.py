import asyncio
import time

import pytest

from cell.executions.pace import Pace


@pytest.mark.anyio
async def test_the_first_call_and_one_after_a_rest_start_at_once() -> None:
    pace = Pace(3_600.0)
    await asyncio.wait_for(pace.turn(), 5.0)
    resting = Pace(0.0)
    resting.started()
    await asyncio.wait_for(resting.turn(), 5.0)


@pytest.mark.anyio
async def test_the_next_call_of_any_loop_waits_for_the_period() -> None:
    pace = Pace(0.05)
    began = time.monotonic()
    pace.started()
    await asyncio.gather(pace.turn(), pace.turn())
    assert time.monotonic() - began >= 0.05
