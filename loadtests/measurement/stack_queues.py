"""A cell of a stack between two rounds: how many orders it holds, and whether its queues are empty."""

import asyncio
from typing import Final

from loadtests.measurement.refusal import MeasurementRefused
from loadtests.operator_view import OperatorView

QUIET_S_MAX: Final = 120.0
"""A backlog of a round at full rate is worked off in less than half of this."""
QUIET_POLL_S: Final = 1.0
"""Each look is a process of its own (`shardctl cells summary`): more often would be load."""


async def orders_in(view: OperatorView, cell: str) -> int:
    summary = await view.summary(cell)
    return sum(int(count) for count in summary["orders_by_status"].values())


async def until_quiet(view: OperatorView, cell: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + QUIET_S_MAX
    while True:
        summary = await view.summary(cell)
        waiting = {name: summary[name] for name in ("outbox_pending", "inbox_pending", "instructions_pending")}
        if not any(waiting.values()):
            return
        if loop.time() > deadline:
            raise MeasurementRefused(f"{cell} is not quiet after {QUIET_S_MAX:.0f} s: {waiting}")
        await asyncio.sleep(QUIET_POLL_S)
