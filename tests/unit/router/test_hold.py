"""Lines of held writes: one at a time, whatever comes late, and no faster because two clocks differ."""

import asyncio
import uuid
from datetime import UTC, datetime

import pytest

from router.hold import HaltedAnswer, Holding
from router.settings import HoldSettings

pytestmark = pytest.mark.anyio
USER = uuid.UUID(int=7)
NOW_S = 1_800_000_000.0


async def test_a_late_refusal_of_one_write_does_not_send_it_beside_another() -> None:
    holding = Holding(HoldSettings())
    sent = holding.enqueue(USER, 2.0, 5.0)
    await sent.wait()
    refused_late = holding.enqueue(USER, 1.0, 5.0)  # it had arrived first, but its refusal was slower
    refused_late.still_halted(HaltedAnswer("USER_HALTED"))
    turn = asyncio.create_task(refused_late.wait())
    await asyncio.sleep(0.1)
    assert not turn.done()
    sent.leave()
    async with asyncio.timeout(5):
        await turn
    refused_late.leave()
    assert (holding.waiting, holding.queues) == (0, {})


async def test_a_lease_that_is_long_over_by_our_clock_does_not_make_the_line_ask_on_and_on() -> None:
    holding = Holding(HoldSettings(), lambda: NOW_S + 3600)
    waiter = holding.enqueue(USER, 1.0, 5.0)
    loop = asyncio.get_running_loop()
    for _ in range(5):
        waiter.still_halted(HaltedAnswer("USER_HALTED", datetime.fromtimestamp(NOW_S + 1, UTC)))
    assert holding.queues[USER].not_before_s - loop.time() > 0.1
    waiter.leave()


async def test_pauses_are_short_again_when_the_user_has_left_the_cell() -> None:
    """The cell that halted them is asked less and less; the next one takes over within moments."""
    holding = Holding(HoldSettings())
    waiter = holding.enqueue(USER, 1.0, 5.0)
    pauses = []
    for elsewhere in (False, False, False, True):
        if elsewhere:
            waiter.asks_elsewhere()
        pauses.append(holding.queues[USER].pause_s)
        waiter.still_halted(HaltedAnswer("USER_HALTED"))
    assert pauses == [0.02, 0.04, 0.08, 0.02]
    waiter.leave()
