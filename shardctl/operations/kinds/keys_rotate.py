"""`keys.rotate`: new signing keys without logging anybody out. Add a key, wait until every process has read it, let it
sign, drop the old ones whose tokens have expired; then every process is asked which keys it holds.

Each step is one atomic replacement of a file, and finds what an attempt before it has done: an added key that does not
sign yet is the one to activate. Until the first one signs the rotation can be cancelled: the added keys are removed.
"""

import asyncio
from dataclasses import asdict
from typing import Final

from infra.security.roles import Role
from infra.security.rotation import (
    KEPT_S,
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

SETTLE_S: Final = 3.0
"""Every process reads its key files at most once a second, when a request comes. The rest is for a busy machine, and
for requests that wait in a router, already signed, for a permit of their cell."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"rings": list, "drop_old": bool})
    rings = arguments.get("rings") or [str(ring) for ring in Rotated]
    unknown = sorted({str(ring) for ring in rings} - {str(ring) for ring in Rotated})
    if unknown:
        raise UsageError(f"no such ring: {', '.join(unknown)}; there are: {', '.join(Rotated)}")
    return {"rings": [str(ring) for ring in Rotated if ring in rings], "drop_old": bool(arguments.get("drop_old"))}


async def observe(resources: StackResources, arguments: Document) -> Document:
    folder = resources.backend.keys_folder
    return {
        ring: [row.kid for row in list_keys(folder, Rotated(ring)) if row.state == "active"]
        for ring in arguments["rings"]
    }


def plan(arguments: Document, _: Document) -> Plan:
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


async def _add(step: Step[StackResources]) -> Document:
    async with step.resources.changing() as backend:
        kid = add_key(backend.keys_folder, Rotated(step.arguments["ring"]))
        await backend.publish_keys()
    return {"kid": kid}


async def _remove_added(step: Step[StackResources]) -> None:
    async with step.resources.changing() as backend:
        remove_added_keys(backend.keys_folder, Rotated(step.arguments["ring"]))
        await backend.publish_keys()


async def _settle(_: Step[StackResources]) -> None:
    await asyncio.sleep(SETTLE_S)


async def _activate(step: Step[StackResources]) -> Document:
    ring = step.arguments["ring"]
    kid = step.results[adding(ring)]["kid"]
    async with step.resources.changing() as backend:
        activate_key(backend.keys_folder, Rotated(ring), kid, int(step.resources.clock.epoch_s()))
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
        "settle": Action(_settle),
        "activate": Action(_activate),
        "drop": Action(_drop, decide=_old),
        "ask": Action(_ask),
    },
    needs_reason=True,
    role=Role.ADMIN,
)
