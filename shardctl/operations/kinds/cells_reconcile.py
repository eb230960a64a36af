"""`cells.reconcile`: prove a cell's books and compare them with the venue and with Kafka; one step per cell.

Nothing is corrected. The time at which a cell's comparison began is persisted first: if an attempt is repeated and the
cell has kept a run of that time already, that run is the result, and no second one is made.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shardctl.errors import Exit
from shardctl.operations.kinds.of_cells import cells_named, known_cells, parse_cells
from shardctl.operations.plan import Action, Conclusion, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.operations.states import State
from shardctl.reconciliation.kept import list_runs
from shardctl.reconciliation.run import CHECKS_TIMEOUT_S, reconcile

_RUNS_LOOKED_AT: Final = 20
"""Nobody reconciles a cell twenty times between two attempts of a step."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"cell": str})
    return parse_cells(arguments)


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    cells = cells_named(arguments, facts)
    steps = (
        PlannedStep(f"reconcile {cell}", "reconcile", {"cell": cell}, timeout_s=4 * CHECKS_TIMEOUT_S) for cell in cells
    )
    return Plan(arguments["cell"] or "all cells", tuple(steps), cells=cells)


async def _begin(step: Step[StackResources]) -> Document:
    return {"started_at": step.resources.clock.now().isoformat()}


async def _reconcile(step: Step[StackResources]) -> Document:
    cell, started_at = step.arguments["cell"], datetime.fromisoformat(step.intent["started_at"])
    async with step.resources.cells() as admin:
        for run in await list_runs(admin, cell, _RUNS_LOOKED_AT):
            if datetime.fromisoformat(run["started_at"]) == started_at:
                return _kept(cell, run)
        return _kept(cell, await reconcile(step.resources.backend, cell, admin, started_at))


def _kept(cell: str, run: Document) -> Document:
    return {"cell": cell, "run_id": run["run_id"], "verdict": run["verdict"], "found": run["found"]}


def conclude(results: Mapping[str, Document]) -> Conclusion:
    """A difference comes before a side that could not be asked."""
    different = [result for result in results.values() if result["verdict"] == "different"]
    if different:
        first = different[0]
        what = "; ".join(f"{result['cell']}: {', '.join(result['found'])}" for result in different)
        look = f"look at `shardctl cells reconciliations {first['cell']} -n 1 --json`"
        return Conclusion(State.FAILED, Exit.FAILED, f"{what}: {look}{_next(first['cell'], first['found'])}")
    incomplete = [result["cell"] for result in results.values() if result["verdict"] == "incomplete"]
    if incomplete:
        said = f"{', '.join(incomplete)}: not everything could be asked: look at `shardctl status`, then run it again"
        return Conclusion(State.FAILED, Exit.NOT_REACHABLE, said)
    return Conclusion(State.SUCCEEDED, Exit.DONE)


def _next(cell: str, found: list[str]) -> str:
    if found == ["venue"]:
        return f", `shardctl cells quarantine {cell}`"
    if found == ["events"]:
        return f", `shardctl events count --cell {cell}`"
    return f", `shardctl cells check {cell} --json`"


CELLS_RECONCILE: Final[Kind[StackResources]] = Kind(
    name="cells.reconcile",
    version=1,
    summary="Checks a cell's books, compares them with the venue and Kafka, keeps the result. Corrects nothing.",
    parse=parse,
    observe=known_cells,
    plan=plan,
    actions={"reconcile": Action(_reconcile, decide=_begin)},
    conclude=conclude,
)
