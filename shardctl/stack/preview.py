"""What `shardctl up` would do: the plan that it makes, shown and not carried out. Changes nothing, waits for nobody."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from infra.backends.backend import Backend
from infra.backends.cell_spec import OUR_KINDS, StackSpec
from infra.backends.preview import ProcessChange, Verb, masked
from shardctl.stack.migrations import PendingMigrations, pending_migrations
from shardctl.stack.plan import StackOptions, cells_at_once, plan_spec

MARKS: Final = {Verb.START: "+", Verb.RENEW: "~", Verb.LEAVE: "", Verb.STOP: "-"}


@dataclass(frozen=True, slots=True)
class UpPlan:
    stack: str
    exists: bool
    settings: dict[str, tuple[Any, Any]]
    """Of the stack's specification, what changes: before and after; of a new stack, all of it, with None before."""
    changes: tuple[ProcessChange, ...]
    cells_by_operation: tuple[str, ...]
    """Cells that a running stack is given one after the other, each by an operation."""
    migrations: tuple[PendingMigrations, ...] = ()
    """By database of a stack that was there before; a new one gets all of this release's."""

    @property
    def totals(self) -> dict[Verb, int]:
        counted = Counter(change.verb for change in self.changes)
        return {verb: counted[verb] for verb in Verb}

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "stack": self.stack,
            "exists": self.exists,
            "settings": {name: {"before": before, "after": after} for name, (before, after) in self.settings.items()},
            "processes": [asdict(change) for change in self.changes],
            "cells_by_operation": self.cells_by_operation,
            "migrations": [asdict(found) for found in self.migrations],
            "totals": self.totals,
        }


async def preview_up(backend: Backend, options: StackOptions) -> UpPlan:
    """Raises as `bring_up` before it does anything: Refused, SpecInvalid, BackendError."""
    before = backend.spec() if backend.exists() else None
    wanted = plan_spec(before, options, backend.external_servers())
    later = wanted.cells[cells_at_once(before, wanted) :]
    changes = await backend.preview(wanted)
    return UpPlan(
        backend.stack,
        before is not None,
        changed_settings(before, wanted),
        tuple(_as_carried_out(change, before, wanted, {cell.name for cell in later}) for change in changes),
        tuple(cell.name for cell in later),
        () if before is None else await pending_migrations(backend),
    )


def changed_settings(before: StackSpec | None, wanted: StackSpec) -> dict[str, tuple[Any, Any]]:
    """By field of the specification, without secrets. Pure."""
    old = None if before is None else _told(before)
    return {
        name: (old and old[name], value) for name, value in _told(wanted).items() if old is None or old[name] != value
    }


def _told(spec: StackSpec) -> dict[str, Any]:
    told = {name: masked(name, value) if isinstance(value, str) else value for name, value in asdict(spec).items()}
    del told["incarnations"]  # no option changes it
    return told


def _as_carried_out(
    change: ProcessChange, before: StackSpec | None, wanted: StackSpec, later: set[str]
) -> ProcessChange:
    """With what only `bring_up` knows: who comes by an operation, and who stops together with all others."""
    if change.cell in later:
        return replace(change, why="a new cell, by an operation (cells.add)")
    moved = before is not None and before.clock_offset_s != wanted.clock_offset_s
    if moved and change.verb is Verb.RENEW and change.kind in OUR_KINDS:
        return replace(change, why="the clock moves: all of ours stop at once, then start")
    return change
