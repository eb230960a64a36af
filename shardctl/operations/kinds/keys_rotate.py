"""`keys.rotate`: new signing keys without logging anybody out. Add a key, wait until every process has read it, let it
sign, drop the old ones whose tokens have expired; then every process is asked which keys it holds.

Each step is one atomic replacement of a file, and finds what an attempt before it has done: an added key that does not
sign yet is the one to activate. Until the first one signs the rotation can be cancelled: the added keys are removed.

The cells' own keys are rotated when they are named: their public halves enter the map, and reach every cell, before one
of them signs. Nothing of them is dropped, because what a cell has certified stays valid.
"""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Final

from infra.backends.backend import Backend
from infra.backends.plan import own_keys
from infra.security.cell_keys import public_keys_in
from infra.security.roles import Role
from infra.security.rotation import (
    KEPT_S,
    SHARED,
    Rotated,
    activate_key,
    add_key,
    drop_old_keys,
    list_keys,
    remove_added_keys,
)
from shardctl.errors import Refused, UsageError
from shardctl.keys import ask_holders
from shardctl.operations.kinds.keys_rotated import adding, dropping
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.tell_cells import tell_cells

SETTLE_S: Final = 3.0
"""Every process reads its key files at most once a second, when a request comes. The rest is for a busy machine, and
for requests that wait in a router, already signed, for a permit of their cell."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"rings": list, "drop_old": bool})
    rings = arguments.get("rings") or [str(ring) for ring in SHARED]
    unknown = sorted({str(ring) for ring in rings} - {str(ring) for ring in Rotated})
    if unknown:
        raise UsageError(f"no such ring: {', '.join(unknown)}; there are: {', '.join(Rotated)}")
    if Rotated.CELL in rings and (len(rings) > 1 or arguments.get("drop_old")):
        raise UsageError(
            "the cells' own keys are rotated by themselves, and none is dropped: what they certified stays valid"
        )
    return {"rings": [str(ring) for ring in Rotated if ring in rings], "drop_old": bool(arguments.get("drop_old"))}


async def observe(resources: StackResources, arguments: Document) -> Document:
    """The keys that sign now, by ring; of the cells' own by cell."""
    backend = resources.backend
    rings = {ring: (backend.keys_folder, Rotated(ring)) for ring in arguments["rings"]}
    if Rotated.CELL in arguments["rings"]:
        cells = [cell.name for cell in backend.spec().cells]
        rings = {cell: (own_keys(backend.keys_folder, cell), Rotated.CELL) for cell in cells}
    return {name: [row.kid for row in list_keys(*ring) if row.state == "active"] for name, ring in rings.items()}


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    return _plan_cells(tuple(facts)) if Rotated.CELL in arguments["rings"] else _plan_shared(arguments)


def _plan_shared(arguments: Document) -> Plan:
    rings, drop_old = arguments["rings"], arguments["drop_old"]
    first, *others = rings
    return Plan(
        ", ".join(rings),
        (
            *(PlannedStep(adding(ring), "add", {"ring": ring}) for ring in rings),
            PlannedStep("wait until every process has read them", "settle"),
            PlannedStep(f"sign with the new {first} key", "activate", {"ring": first}, is_irrevocable=True),
            *(PlannedStep(f"sign with the new {ring} key", "activate", {"ring": ring}) for ring in others),
            # Signers first: a key must not vanish under a token that is being made.
            *([PlannedStep("wait until nobody signs with an old key", "settle")] if drop_old else []),
            *(PlannedStep(dropping(ring), "drop", {"ring": ring, "at_once": drop_old}) for ring in rings),
            PlannedStep("ask every process which keys it holds", "ask", attempts_max=2),
        ),
    )


def _plan_cells(cells: tuple[str, ...]) -> Plan:
    if not cells:
        raise Refused("the stack has no cells: `shardctl up` makes some")
    own = {cell: {"ring": str(Rotated.CELL), "cell": cell} for cell in cells}
    first, *others = cells
    return Plan(
        ", ".join(cells),
        (
            *(PlannedStep(adding(cell), "add", own[cell]) for cell in cells),
            PlannedStep("tell the map and all cells the new keys", "tell", {"cells": list(cells)}),
            PlannedStep("wait until every process has read them", "settle"),
            PlannedStep(f"sign with {first}'s new key", "activate", own[first], is_irrevocable=True),
            *(PlannedStep(f"sign with {cell}'s new key", "activate", own[cell]) for cell in others),
        ),
    )


def _ring(step: Step[StackResources], backend: Backend) -> tuple[Path, Rotated]:
    """Where the ring of a step lies: a cell's own in the cell's folder."""
    ring, cell = Rotated(step.arguments["ring"]), step.arguments.get("cell")
    return (backend.keys_folder if cell is None else own_keys(backend.keys_folder, cell)), ring


async def _add(step: Step[StackResources]) -> Document:
    async with step.resources.changing() as backend:
        kid = add_key(*_ring(step, backend))
        await backend.publish_keys()
    return {"kid": kid}


async def _remove_added(step: Step[StackResources]) -> None:
    """A public key that is in the map already stays there: nothing was ever signed with it."""
    async with step.resources.changing() as backend:
        remove_added_keys(*_ring(step, backend))
        await backend.publish_keys()


async def _tell(step: Step[StackResources]) -> Document:
    resources = step.resources
    async with resources.changing() as backend:
        public = {cell: public_keys_in(own_keys(backend.keys_folder, cell)) for cell in step.arguments["cells"]}
    async with resources.map_store() as store:
        shard_map = await store.load()
        for cell, keys in public.items():
            known = shard_map.cell(cell)
            if known is not None:  # else it joins with them
                urls = known.api_urls, known.operator_urls
                shard_map = await register_cell(store, shard_map, cell, *urls, signing_keys=keys, by=resources.actor)
    async with resources.changing() as backend:
        await tell_cells(backend, shard_map)
    return {"epoch": shard_map.epoch}


async def _settle(_: Step[StackResources]) -> None:
    await asyncio.sleep(SETTLE_S)


async def _activate(step: Step[StackResources]) -> Document:
    kid = step.results[adding(step.arguments.get("cell") or step.arguments["ring"])]["kid"]
    async with step.resources.changing() as backend:
        activate_key(*_ring(step, backend), kid, int(step.resources.clock.epoch_s()))
        await backend.publish_keys()
    return {"kid": kid}


async def _old(step: Step[StackResources]) -> Document:
    rows = list_keys(step.resources.backend.keys_folder, Rotated(step.arguments["ring"]))
    return {"old": [row.kid for row in rows if row.state == "retired"]}


async def _drop(step: Step[StackResources]) -> Document:
    """What was dropped is known also if the attempt before this one did it."""
    ring = Rotated(step.arguments["ring"])
    kept_s = 0 if step.arguments["at_once"] else KEPT_S[ring]
    async with step.resources.changing() as backend:
        drop_old_keys(backend.keys_folder, ring, int(step.resources.clock.epoch_s()), kept_s=kept_s)
        await backend.publish_keys()
        kept = {row.kid for row in list_keys(backend.keys_folder, ring)}
    return {"dropped": [kid for kid in step.intent["old"] if kid not in kept]}


async def _ask(step: Step[StackResources]) -> Document:
    """Raises Refused while a process may hold another key; the operation is resumed when that one was ended."""
    holders = await ask_holders(step.resources.backend)
    others = [holder for holder in holders if not holder.is_current]
    if others:
        named = "; ".join(f"{holder.process}: {holder.detail}" for holder in others)
        raise Refused(
            f"{named}. The key files are right, and a process reads them when it starts: end the named processes "
            "(pid in `shardctl status`; kill -9 PID, the supervisor starts them again), then `shardctl keys check`"
        )
    return {"holders": [asdict(holder) for holder in holders]}


KEYS_ROTATE: Final[Kind[StackResources]] = Kind(
    name="keys.rotate",
    version=1,
    summary="New signing keys: added, then they sign, then old ones are dropped; then every process is asked.",
    parse=parse,
    observe=observe,
    plan=plan,
    actions={
        "add": Action(_add, undo=_remove_added),
        "tell": Action(_tell),
        "settle": Action(_settle),
        "activate": Action(_activate),
        "drop": Action(_drop, decide=_old),
        "ask": Action(_ask),
    },
    needs_reason=True,
    role=Role.ADMIN,
)
