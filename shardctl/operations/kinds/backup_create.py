"""`backup.create`: back up the control database and cells while they work, one step each; then prune, if asked to.

The backup's label is decided and persisted before the first attempt. So an attempt that comes after a crash finds the
backup that was named already, or begins it anew: half of one has no name.
"""

from collections.abc import Mapping
from typing import Any, Final

from infra.backends.addresses import CONTROL_POSTGRES
from infra.backends.backend import Report
from infra.security.roles import Role
from shardctl.backups.coverage import prunable
from shardctl.backups.naming import machine_now, new_label
from shardctl.backups.servers import open_backups, server_of
from shardctl.errors import Exit, Refused, UsageError
from shardctl.operations.kinds.of_cells import known_cells
from shardctl.operations.kinds.reported import reported
from shardctl.operations.plan import Action, Conclusion, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.operations.states import State

CONTROL: Final = "control"
"""Stands for the control database where a cell is named."""
KEEP_MAX: Final = 1_000
_COPY_S: Final = 6 * 3_600.0
"""One attempt: a terabyte at fifty megabytes a second."""
_FAILURE_CHARACTERS_MAX: Final = 500
"""Of the reason that is kept for one database."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"of": str, "incremental": bool, "keep": int})
    keep = arguments.get("keep")
    if keep is not None and not 1 <= keep <= KEEP_MAX:
        raise UsageError(f"keep is 1 to {KEEP_MAX} full backups of each database, not {keep}")
    return {"of": arguments.get("of"), "incremental": bool(arguments.get("incremental")), "keep": keep}


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    known = (CONTROL, *facts["cells"])
    wanted = arguments["of"]
    if wanted is not None and wanted not in known:
        raise Refused(f"there is no database of {wanted}; there are: {', '.join(known)}")
    chosen = known if wanted is None else (wanted,)
    taking = [
        PlannedStep(f"back up {name}", "take", {"of": name, "incremental": arguments["incremental"]}, timeout_s=_COPY_S)
        for name in chosen
    ]
    pruning = [
        PlannedStep(f"prune the backups of {name}", "prune", {"of": name, "keep": arguments["keep"]}, timeout_s=_COPY_S)
        for name in (chosen if arguments["keep"] is not None else ())
    ]
    return Plan(wanted or "all databases", (*taking, *pruning), subjects=chosen)


async def _decide(step: Step[StackResources]) -> Document:
    return {"label": new_label(_server(step))}


async def _take(step: Step[StackResources]) -> Document:
    """Incremental only if there is one to be based on: the first of an archive is a full one."""
    server, resources = _server(step), step.resources

    async def work(report: Report) -> dict[str, Any]:
        backups = open_backups(resources.backend, report, resources.lease)
        states = await backups.archive_states(server)
        is_incremental = step.arguments["incremental"] and any(state.is_open for state in states)
        taken = await backups.take(
            server,
            label=step.intent["label"],
            incremental=is_incremental,
            reason=resources.reason,
            now=machine_now,
        )
        return {"label": taken.label, "kind": str(taken.kind), "size_bytes": taken.size_bytes}

    return await reported(step, work)


async def _prune(step: Step[StackResources]) -> Document:
    server, resources = _server(step), step.resources

    async def work(report: Report) -> dict[str, Any]:
        backups = open_backups(resources.backend, report, resources.lease)
        labels = prunable(backups.backups(server), step.arguments["keep"])
        return {"labels": list(labels), "freed_bytes": await backups.prune(labels, server) if labels else 0}

    return await reported(step, work)


def without(arguments: Document, _: Document, error: Exception) -> Document:
    """The others are backed up and pruned all the same: one dead cell would end the backups of all, and the logs that
    nothing prunes would fill the disk."""
    return {"of": arguments["of"], "failed": str(error)[:_FAILURE_CHARACTERS_MAX]}


def conclude(results: Mapping[str, Document]) -> Conclusion:
    """Failed, with the reason for each database that has no new backup."""
    failed = [f"{result['of']}: {result['failed']}" for result in results.values() if "failed" in result]
    if failed:
        return Conclusion(State.FAILED, Exit.FAILED, " | ".join(failed))
    return Conclusion(State.SUCCEEDED, Exit.DONE)


def _server(step: Step[StackResources]) -> str:
    of, backend = step.arguments["of"], step.resources.backend
    return CONTROL_POSTGRES if of == CONTROL else server_of(backend, of)


BACKUP_CREATE: Final[Kind[StackResources]] = Kind(
    name="backup.create",
    version=1,
    summary="Copies databases while they work, verifies the copies, and removes the oldest ones if told how many stay.",
    parse=parse,
    observe=known_cells,
    plan=plan,
    needs_reason=True,
    conclude=conclude,
    role=Role.ADMIN,  # it may remove all older backups for good
    actions={"take": Action(_take, decide=_decide, finding=without), "prune": Action(_prune, finding=without)},
)
