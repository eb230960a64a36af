"""`cells.archive`: move the history of orders that ended long ago out of the tables that are written now.

One step per cell: the cell works for some seconds per call, and its answer says where to go on; that place is
persisted, so an interrupted walk goes on there. What is archived already is skipped: a call sent twice does no harm.
"""

from collections.abc import Mapping
from typing import Any, Final

from shardctl.cells.archive import archive_piece
from shardctl.cells.archived import OLDER_THAN_DAYS
from shardctl.errors import Exit
from shardctl.operations.kinds.of_cells import cells_named, known_cells, parse_cells
from shardctl.operations.plan import Action, Conclusion, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.operations.states import State

REASON: Final = "archived without a reason"
"""Cells record why; a nightly run has nothing to say."""
_WALK_S: Final = 6 * 3600.0
"""One attempt over a cell of a million users; the next one goes on at the last place."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"cell": str, "older_than_days": int})
    return {**parse_cells(arguments), "older_than_days": arguments.get("older_than_days") or OLDER_THAN_DAYS}


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    cells = cells_named(arguments, facts)
    return Plan(
        arguments["cell"] or "all cells",
        tuple(
            PlannedStep(
                f"archive {cell}", "archive", {"cell": cell, "days": arguments["older_than_days"]}, timeout_s=_WALK_S
            )
            for cell in cells
        ),
        cells=cells,
    )


async def _archive(step: Step[StackResources]) -> Document:
    cell, days = step.arguments["cell"], step.arguments["days"]
    counts: Mapping[str, int] = step.progress.get("counts", {})
    place: Any = step.progress.get("place")
    unpublished: bool = step.progress.get("unpublished", False)
    async with step.resources.cells(REASON) as admin:
        while True:
            piece = await archive_piece(admin, cell, days, place, counts)
            counts, place = piece.counts, piece.place
            unpublished |= piece.unpublished
            if place is None:
                break
            reached = {"counts": counts, "place": place, "unpublished": unpublished}
            await step.checkpoint(reached, f"{counts['entries']} entries of {counts['users']} users")
    return {"cell": cell, "totals": dict(counts), "unpublished": unpublished}


def conclude(results: Mapping[str, Document]) -> Conclusion:
    waiting = [result["cell"] for result in results.values() if result["unpublished"]]
    if not waiting:
        return Conclusion(State.SUCCEEDED, Exit.DONE)
    return Conclusion(
        State.FAILED,
        Exit.FAILED,
        f"{', '.join(waiting)}: events of some users are that old and not published yet, nothing of those users was "
        f"moved: `shardctl status`, `shardctl logs {waiting[0]}-relay`",
    )


CELLS_ARCHIVE: Final[Kind[StackResources]] = Kind(
    name="cells.archive",
    version=1,
    summary="Moves the history of orders that ended long ago to the archive, by month. Customers see it as before.",
    parse=parse,
    observe=known_cells,
    plan=plan,
    actions={"archive": Action(_archive)},
    conclude=conclude,
    needs_reason=True,
)
