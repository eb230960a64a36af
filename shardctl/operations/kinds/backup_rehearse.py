"""`backup.rehearse`: restore the newest backup of each cell beside it, prove and compare the copy, take it away again.

A finding does not end the operation: the other cells are rehearsed too, and the conclusion names all of them. What a
killed attempt leaves is removed by the next one, and by the leader, which looks for it (`service/watches.py`).
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from infra.backends.backend import Report
from shardctl.backups.coverage import parse_moment, spell_moment
from shardctl.backups.rehearse import rehearse_restore
from shardctl.backups.servers import open_backups, server_of
from shardctl.errors import Exit, UsageError
from shardctl.operations.kinds.of_cells import cells_named, known_cells, parse_cells
from shardctl.operations.kinds.reported import reported
from shardctl.operations.plan import Action, Conclusion, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.operations.states import State

_REHEARSAL_S: Final = 12 * 3_600.0
"""One attempt: the copy, its log, and every check over all of it."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"cell": str, "to": str})
    return {**parse_cells(arguments), "to": _spelled(arguments.get("to") or "latest")}


def _spelled(to: str) -> str:
    """In the one spelling of a moment. Raises UsageError."""
    try:
        return spell_moment(parse_moment(to))
    except ValueError as error:
        raise UsageError(f"to is a time with its zone, as 2026-01-31T14:30:00Z, or latest, not {to!r}") from error


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    cells = cells_named(arguments, facts)
    steps = tuple(
        PlannedStep(f"rehearse {cell}", "rehearse", {"cell": cell, "to": arguments["to"]}, timeout_s=_REHEARSAL_S)
        for cell in cells
    )
    return Plan(arguments["cell"] or "all cells", steps, subjects=cells)


async def _rehearse(step: Step[StackResources]) -> Document:
    resources, cell = step.resources, step.arguments["cell"]
    moment: datetime | None = parse_moment(step.arguments["to"])

    async def work(report: Report) -> dict[str, Any]:
        done = await rehearse_restore(
            resources.backend, cell, moment, report, monotonic=time.monotonic, lease=resources.lease
        )
        found: dict[str, Any] = msgspec.to_builtins(done)
        return {**found, "findings": done.findings()}

    return await reported(step, work)


async def _remove(step: Step[StackResources]) -> None:
    resources = step.resources
    backups = open_backups(resources.backend, lease=resources.lease)
    await backups.sweep(server_of(resources.backend, step.arguments["cell"]))


def conclude(results: Mapping[str, Document]) -> Conclusion:
    wrong = [result for result in results.values() if result["findings"]]
    if not wrong:
        return Conclusion(State.SUCCEEDED, Exit.DONE)
    found = " | ".join(f"{result['cell']}: {'; '.join(result['findings'])}" for result in wrong)
    said = f"the restored copy would not do: {found}: `shardctl cells reconcile {wrong[0]['cell']}`"
    return Conclusion(State.FAILED, Exit.FAILED, said)


BACKUP_REHEARSE: Final[Kind[StackResources]] = Kind(
    name="backup.rehearse",
    version=1,
    summary="Restores the newest backup beside each cell, proves and compares the copy, and takes it away again.",
    parse=parse,
    observe=known_cells,
    plan=plan,
    actions={"rehearse": Action(_rehearse, undo=_remove)},
    conclude=conclude,
)
