"""A cell of a stack between two rounds: how many orders it holds, and whether its queues are empty."""

from typing import Final

from loadtests import quiet
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.operator_view import OperatorView

QUIET_S_MAX: Final = 120.0
"""A backlog of a round at full rate is worked off in less than half of this."""
QUIET_POLL_S: Final = 1.0
"""Each look is a process of its own (`shardctl cells summary`): more often would be load."""


async def orders_in(view: OperatorView, cell: str) -> int:
    return quiet.orders_in(await view.summary(cell))


async def until_quiet(view: OperatorView, cell: str) -> None:
    """Raises MeasurementRefused when time is up."""
    summaries = await quiet.wait_until_quiet(view, [cell], within_s=QUIET_S_MAX, every_s=QUIET_POLL_S)
    waiting = quiet.waiting_text(summaries[cell])
    if waiting:
        raise MeasurementRefused(f"{cell} is not quiet after {QUIET_S_MAX:.0f} s: {waiting}")
