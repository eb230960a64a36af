"""`control.prune`: delete samples and operations that are old enough from the control database, in small pieces."""

from typing import Final

from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources

_LONG_S: Final = 3_600.0
"""The first night after months without one."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {})
    return {}


async def observe(_: StackResources, __: Document) -> Document:
    return {}


def plan(_: Document, __: Document) -> Plan:
    return Plan("the control database", (PlannedStep("delete what is old", "prune", timeout_s=_LONG_S),))


async def _prune(step: Step[StackResources]) -> Document:
    """Between two pieces the lease is looked at, and a cancellation."""
    deleted = step.progress.get("deleted", 0)
    while (piece := await step.resources.prune()) > 0:
        deleted += piece
        await step.checkpoint({"deleted": deleted}, f"{deleted} rows")
    return {"deleted": deleted}


CONTROL_PRUNE: Final[Kind[StackResources]] = Kind(
    name="control.prune",
    version=1,
    summary="Deletes old samples of counters and operations that ended long ago; the database keeps the least ages.",
    parse=parse,
    observe=observe,
    plan=plan,
    actions={"prune": Action(_prune)},
)
