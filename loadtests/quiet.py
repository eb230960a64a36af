"""When the cells of a stack have nothing left to do: their summaries, asked again and again through `shardctl`.

Orders that rest may be filled at any later time; quiet means only that nothing waits in a queue. Whoever waits decides
what it means that time was up.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from loadtests.operator_view import OperatorView

QUEUES: Final = ("outbox_pending", "inbox_pending", "instructions_pending")
Summary = Mapping[str, Any]


def waiting_in(summary: Summary) -> dict[str, int]:
    """How much waits in which queue; empty for a quiet cell."""
    return {queue: count for queue in QUEUES if (count := int(summary[queue]))}


def waiting_text(summary: Summary) -> str:
    """`3 outbox_pending, 1 inbox_pending`; empty for a quiet cell."""
    return ", ".join(f"{count} {queue}" for queue, count in waiting_in(summary).items())


def orders_in(summary: Summary) -> int:
    """Orders that the cell holds, in whatever state."""
    return sum(int(count) for count in summary["orders_by_status"].values())


async def summaries_of(view: OperatorView, cells: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of each cell, asked at once. Raises OperatorRefused."""
    names = list(cells)
    return dict(zip(names, await asyncio.gather(*(view.summary(name) for name in names)), strict=True))


async def wait_until_quiet(
    view: OperatorView,
    cells: Iterable[str],
    *,
    within_s: float,
    every_s: float,
    looks: int = 1,
    on_look: Callable[[float], None] = lambda waited_s: None,
) -> dict[str, dict[str, Any]]:
    """The last look at each cell: all quiet in that many looks in a row, or time was up. Raises OperatorRefused."""
    names, loop = list(cells), asyncio.get_running_loop()
    began_s = loop.time()
    quiet_looks = 0
    while True:
        summaries = await summaries_of(view, names)
        waited_s = loop.time() - began_s
        on_look(waited_s)
        quiet_looks = 0 if any(waiting_in(summary) for summary in summaries.values()) else quiet_looks + 1
        if quiet_looks == looks or waited_s > within_s:
            return summaries
        await asyncio.sleep(every_s)
