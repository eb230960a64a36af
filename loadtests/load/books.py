"""The operator's side of a run: each cell quiet, its ledger checks, Kafka beside its database. Through `shardctl`.

What cannot be asked is a finding, never taken for a good answer.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from loadtests.operator_view import OperatorRefused, OperatorView
from loadtests.quiet import orders_in, wait_until_quiet, waiting_text

QUIET_S_MAX: Final = 60.0
"""Relay and worker need some seconds after the last order; a backlog of a spike the rest."""
QUIET_POLL_S: Final = 0.5
"""Between looks at the cells; quiet takes seconds."""


class CellBooks(msgspec.Struct):
    """Of one cell after the run. `wrong` says what is not as it must be; nothing if all is."""

    cell: str
    orders: int
    """That the cell holds more than before the run, of everybody."""
    checks: int
    wrong: list[str]


async def prove_books(view: OperatorView, before: Mapping[str, Mapping[str, Any]]) -> list[CellBooks]:
    """Once each cell is quiet, or time was up; `before` are its summaries before the run. Raises OperatorRefused."""
    after = await wait_until_quiet(view, before, within_s=QUIET_S_MAX, every_s=QUIET_POLL_S, looks=2)
    return list(await asyncio.gather(*(_prove_cell(view, cell, before[cell], after[cell]) for cell in before)))


async def _prove_cell(view: OperatorView, cell: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> CellBooks:
    waiting = waiting_text(after)
    found = CellBooks(cell, 0, 0, [f"not quiet after {QUIET_S_MAX:.0f} s: {waiting}"] if waiting else [])
    try:
        checks = await view.checks(cell)
        events = await view.events(cell)
    except OperatorRefused as error:
        found.wrong.append(str(error))
        return found
    found.orders = orders_in(after) - orders_in(before)
    found.checks = len(checks.get("checks", ()))
    if not checks.get("healthy") or not found.checks:
        red = [str(check["name"]) for check in checks.get("checks", ()) if check.get("violations")]
        found.wrong.append(f"ledger checks failed: {', '.join(red) or 'none ran'}")
    if not events.get("equal"):
        found.wrong.append(f"Kafka differs from the database: {events}")
    if int(after.get("quarantined", 0)) > int(before.get("quarantined", 0)):
        found.wrong.append("reports were quarantined")
    return found
