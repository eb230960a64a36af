"""The operator's side of a run: each cell quiet, its ledger checks, Kafka beside its database. Through `shardctl`.

What cannot be asked is a finding, never taken for a good answer.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from loadtests.operator_view import OperatorRefused, OperatorView

QUIET_S_MAX: Final = 60.0
QUEUES: Final = ("outbox_pending", "inbox_pending", "instructions_pending")


class CellBooks(msgspec.Struct):
    """Of one cell after the run. `wrong` says what is not as it must be; nothing if all is."""

    cell: str
    orders: int
    """That the cell holds more than before the run, of everybody."""
    checks: int
    wrong: list[str]


async def each_cell(view: OperatorView) -> dict[str, Mapping[str, Any]]:
    """The summary of each cell."""
    names = await view.cells()
    summaries = await asyncio.gather(*(view.summary(name) for name in names))
    return dict(zip(names, summaries, strict=True))


async def prove_books(view: OperatorView, before: Mapping[str, Mapping[str, Any]]) -> list[CellBooks]:
    after = await _wait_until_quiet(view)
    return list(await asyncio.gather(*(_prove_cell(view, cell, before[cell], after[cell]) for cell in before)))


async def _wait_until_quiet(view: OperatorView) -> dict[str, Mapping[str, Any]]:
    """The last look at each cell: nothing waits in its queues, twice in a row, or time was up."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + QUIET_S_MAX
    quiet_looks = 0
    while True:
        summaries = await each_cell(view)
        is_quiet = not any(_waiting(summary) for summary in summaries.values())
        quiet_looks = quiet_looks + 1 if is_quiet else 0
        if quiet_looks == 2 or loop.time() > ends_s:
            return summaries
        await asyncio.sleep(0.5)


def _waiting(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{summary[queue]} {queue}" for queue in QUEUES if int(summary[queue]))


async def _prove_cell(view: OperatorView, cell: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> CellBooks:
    waiting = _waiting(after)
    found = CellBooks(cell, 0, 0, [f"not quiet after {QUIET_S_MAX:.0f} s: {waiting}"] if waiting else [])
    try:
        checks = await view.checks(cell)
        events = await view.events(cell)
    except OperatorRefused as error:
        found.wrong.append(str(error))
        return found
    found.orders = _orders(after) - _orders(before)
    found.checks = len(checks.get("checks", ()))
    if not checks.get("healthy") or not found.checks:
        red = [str(check["name"]) for check in checks.get("checks", ()) if check.get("violations")]
        found.wrong.append(f"ledger checks failed: {', '.join(red) or 'none ran'}")
    if not events.get("equal"):
        found.wrong.append(f"Kafka differs from the database: {events}")
    if int(after.get("quarantined", 0)) > int(before.get("quarantined", 0)):
        found.wrong.append("reports were quarantined")
    return found


def _orders(summary: Mapping[str, Any]) -> int:
    return sum(int(count) for count in summary["orders_by_status"].values())
