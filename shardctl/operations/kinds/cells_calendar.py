"""`cells.calendar`: bring every cell's market calendar, which looks years ahead, up to date: a job of its image."""

from typing import Final

from infra.backends.cell_spec import Job
from shardctl.cells.provision import complete_job
from shardctl.operations.kinds.of_cells import cells_named, known_cells, parse_cells
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"cell": str})
    return parse_cells(arguments)


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    cells = cells_named(arguments, facts)
    steps = tuple(PlannedStep(f"write {cell}'s calendar", "write", {"cell": cell}) for cell in cells)
    return Plan(arguments["cell"] or "all cells", steps, subjects=cells)


async def _write(step: Step[StackResources]) -> None:
    cell = step.arguments["cell"]
    async with step.resources.changing() as backend:
        await complete_job(backend, Job("cell", ("calendar",), cell))


CELLS_CALENDAR: Final[Kind[StackResources]] = Kind(
    name="cells.calendar",
    version=1,
    summary="Writes the market calendar that this release knows into every cell.",
    parse=parse,
    observe=known_cells,
    plan=plan,
    actions={"write": Action(_write)},
)
