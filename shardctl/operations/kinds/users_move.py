"""`users.move`: users move to another cell, one after the other, while they trade.

Per user: begin (the source keeps their rows in place, the target expects them), copy, hand over, pin, acknowledge. The
move's id and the ownership epoch are decided and persisted before the first request. A user who cannot be moved stays,
is let go in both cells, and the next one's turn comes; the conclusion names who stayed and why. From a hand over on
nothing is cancelled: it has an end of its own within seconds, and whoever has left is activated however long it takes.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from infra.runtime.procedures import DatabaseFailure
from infra.runtime.redis_client import REDIS_FAILURES
from infra.topology.identifiers import parse_uuid
from shardctl.errors import Exit, Refused, UsageError
from shardctl.moves.driver import Copied, Driver, Move, Stays
from shardctl.moves.looking import look_at_users, measure
from shardctl.moves.prechecks import refusals, said
from shardctl.moves.receipt import Receipt, attested, sign_receipt
from shardctl.moves.side import CellSide
from shardctl.operations.plan import Action, Conclusion, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.operations.states import State
from shardctl.shardmap.errors import OwnershipEpochRefused
from shardctl.shardmap.publish import publish_map

USERS_MAX: Final = 1_000
"""In one operation: five steps each, and a dry run that asks for each one's size ends within its timeout."""
_TRIES: Final = 20
"""Of what may still end in letting go: with the pauses between them two minutes, so a cell's restart is outlived."""
_TRIES_OF_WHAT_MUST_END: Final = 100
"""Of what has no other end. An attempt waits for cells by itself, so only a process that is killed uses one up."""
_COPY_S: Final = 6 * 3_600.0
"""One attempt over a user with millions of rows; the next one goes on at the last page."""
_END_S: Final = 24 * 3_600.0
"""One attempt that waits for a cell that is away."""
_TOLD_EVERY_S: Final = 1.0
"""Between two places of a copy that are persisted: what an attempt after a crash reads again is one second's."""
_NAMED_MAX: Final = 5
"""Users who stayed, in the conclusion; the steps' results have all."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"users": list, "to": str})
    names, to = arguments.get("users") or [], arguments.get("to")
    if not to:
        raise UsageError("say where they move: to")
    try:
        users = list(dict.fromkeys(str(parse_uuid(str(name))) for name in names))
    except ValueError as error:
        raise UsageError(f"users are ids: {error}") from error
    if not 0 < len(users) <= USERS_MAX:
        raise UsageError(f"1 to {USERS_MAX} users in one operation, not {len(users)}")
    return {"users": users, "to": to}


async def observe(resources: StackResources, arguments: Document) -> Document:
    return await look_at_users(resources, [UUID(user) for user in arguments["users"]], arguments["to"])


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    to, users = arguments["to"], arguments["users"]
    if found := refusals(facts, to):
        raise Refused(said(found))
    sources = {user: facts["users"][user]["cell"] for user in users}
    steps = [step for user in users for step in _steps(user, sources[user], to)]
    who = users[0] if len(users) == 1 else f"{len(users)} users"
    return Plan(
        f"{who} to {to}",
        tuple(steps),
        cells=tuple(sorted({*sources.values(), to})),
        users=tuple(UUID(user) for user in users),
    )


def _steps(user: str, source: str, target: str) -> Sequence[PlannedStep]:
    given = {"user_id": user, "from": source, "to": target}
    return (
        PlannedStep(_key("begin", user), "begin", given, attempts_max=_TRIES, timeout_s=_END_S),
        PlannedStep(_key("copy", user), "copy", given, attempts_max=_TRIES, timeout_s=_COPY_S),
        PlannedStep(
            _key("hand over", user),
            "hand_over",
            given,
            attempts_max=_TRIES_OF_WHAT_MUST_END,
            timeout_s=_END_S,
            is_irrevocable=True,
        ),
        PlannedStep(_key("pin", user), "pin", given, attempts_max=_TRIES_OF_WHAT_MUST_END),
        PlannedStep(_key("acknowledge", user), "acknowledge", given, attempts_max=_TRIES),
    )


def _key(what: str, user: str) -> str:
    return f"{what} {user}"


async def preview(resources: StackResources, planned: Plan) -> Document:
    return await measure(
        resources,
        [(step.arguments["from"], step.arguments["user_id"]) for step in planned.steps if step.action == "begin"],
    )


async def _decide(step: Step[StackResources]) -> Document:
    async with step.resources.map_store() as store:
        return {"move_id": str(uuid4()), "ownership_epoch": await store.draw_ownership_epoch()}


async def _begin(step: Step[StackResources]) -> Document:
    user = UUID(step.arguments["user_id"])
    async with step.resources.move_records() as records:
        # Held since the plan was made: an operation of many users takes its time.
        for hold in await records.holds([user]):
            raise Stays(f"held by {hold.actor}: {hold.reason}")
    async with _driving(step, step.intent) as driver:
        began = await driver.begin()
    return {**step.intent, "rows": began["rows"], "bytes": began["bytes"], "snapshot": began["snapshot"]}


async def _let_go(step: Step[StackResources]) -> None:
    """The operation is cancelled before anybody was handed over."""
    if step.intent:
        async with _driving(step, step.intent) as driver:
            await driver.let_go()


async def _copy(step: Step[StackResources]) -> Document:
    begun = _of(step, "begin")
    if "stayed" in begun:
        return _stayed(begun)

    told_s = -_TOLD_EVERY_S

    async def reached(copied: Copied) -> None:
        nonlocal told_s
        if copied.whole or step.resources.clock.monotonic() - told_s >= _TOLD_EVERY_S:
            told_s = step.resources.clock.monotonic()
            await step.checkpoint(asdict(copied), f"{copied.rows} of about {begun['rows']} rows")

    async with _driving(step, begun) as driver:
        start = Copied(**step.progress) if step.progress else Copied(begun["snapshot"])
        copied = await driver.copy(start, reached)
        since, attestation = await driver.catch_up(copied.snapshot)
    return {"rows": copied.rows, "bytes": copied.size_bytes, "snapshot": since, "attested": attested(attestation)}


async def _hand_over(step: Step[StackResources]) -> Document:
    """Or let go, of a user who stays. It ends in nothing else."""
    begun, copied = _of(step, "begin"), _of(step, "copy")
    if "move_id" not in begun:
        return _stayed(begun)  # nothing was decided, so no cell has heard of it
    async with _driving(step, begun) as driver:
        if "stayed" in copied:
            await driver.let_go()
            return _stayed(copied)
        is_first = not step.progress
        await step.checkpoint({"begun": True}, "hands over")
        try:
            done = await driver.hand_over(copied["snapshot"], is_fresh=is_first)
        except Stays as error:
            return {"stayed": str(error)}
    return {
        "pause_us": None if done.pause_ms is None else round(done.pause_ms * 1_000),
        "phases_us": {phase: round(took_ms * 1_000) for phase, took_ms in done.phases_ms.items()},
        "halts": done.halts,
        "activated_at": step.resources.clock.now().isoformat(timespec="microseconds"),
        "attested": attested(done.attestation),
        "certificate": done.certificate,
    }


async def _pin(step: Step[StackResources]) -> Document:
    """Routers follow the source's hint already; from here on they know by themselves. No failure without Redis: they
    read the control database within seconds."""
    if "stayed" in (done := _of(step, "hand over")):
        return _stayed(done)
    move, resources = _move(step, _of(step, "begin")), step.resources
    async with resources.map_store() as store:
        before = await store.load()
        try:
            after = await store.pin(
                move.user_id,
                move.target,
                move.ownership_epoch,
                actor=resources.actor,
                reason=resources.reason or "moved",
            )
        except OwnershipEpochRefused:
            # Somebody has moved the user on since: their pin is the newer one.
            return {"map_epoch": before.epoch, "published": False, "superseded": True}
    try:
        published = await publish_map(resources.backend.addresses().redis_url, after, previous=before)
    except REDIS_FAILURES:
        published = False
    return {"map_epoch": after.epoch, "published": published}


async def _acknowledge(step: Step[StackResources]) -> Document:
    """The receipt first: it is what remains of the move. Then the source is told that it need not redeliver."""
    begun, done = _of(step, "begin"), _of(step, "hand over")
    if "stayed" in done:
        return _stayed(done)
    move, resources = _move(step, begun), step.resources
    assert resources.operation is not None, "a move is a step of an operation"
    receipt = Receipt(
        resources.operation,
        move,
        resources.actor,
        resources.reason,
        done["halts"],
        done["pause_us"],
        datetime.fromisoformat(done["activated_at"]),
        _of(step, "copy")["attested"],
        done["attested"],
        done["certificate"],
    )
    signed = sign_receipt(resources.backend.keys_folder, receipt)
    async with resources.move_records() as records:
        await records.record(
            move,
            resources.operation,
            actor=resources.actor,
            reason=resources.reason,
            pause_us=done["pause_us"],
            receipt=signed,
        )
    async with _driving(step, begun) as driver:
        for what in ("activated", "pinned"):
            await driver.acknowledge(what)
    return {"acknowledged": True}


def stays(_: Document, intent: Document, error: Exception) -> Document:
    """A user who could not be begun or copied stays where they are; the hand over lets them go in both cells."""
    return {**intent, **_stayed({"stayed": str(error) or type(error).__name__})}


def unacknowledged(_: Document, __: Document, error: Exception) -> Document:
    """The source redelivers what it has not been told; the user is where they should be."""
    return {"acknowledged": False, "why": str(error) or type(error).__name__}


def conclude(results: Mapping[str, Document]) -> Conclusion:
    """Failed if somebody stayed: nothing is left half done, and the detail says who and why."""
    ended = {key.removeprefix("hand over "): result for key, result in results.items() if key.startswith("hand over ")}
    staying = {user: result["stayed"] for user, result in ended.items() if "stayed" in result}
    pauses_us = [result["pause_us"] for result in ended.values() if result.get("pause_us") is not None]
    moved = f"{len(ended) - len(staying)} moved"
    if pauses_us:
        moved += f", longest pause {max(pauses_us) / 1_000:.0f} ms"
    if not staying:
        return Conclusion(State.SUCCEEDED, Exit.DONE, moved)
    named = "; ".join(f"{user}: {why}" for user, why in list(staying.items())[:_NAMED_MAX])
    return Conclusion(State.FAILED, Exit.FAILED, f"{moved}, {len(staying)} stayed: {named}")


def _of(step: Step[StackResources], what: str) -> Document:
    """The result of an earlier step of the same user."""
    return step.results[_key(what, step.arguments["user_id"])]


def _stayed(result: Document) -> Document:
    return {"stayed": result["stayed"]}


def _move(step: Step[StackResources], decided: Document) -> Move:
    given = step.arguments
    return Move(
        UUID(given["user_id"]), UUID(decided["move_id"]), given["from"], given["to"], decided["ownership_epoch"]
    )


@asynccontextmanager
async def _driving(step: Step[StackResources], decided: Document) -> AsyncIterator[Driver]:
    move, resources = _move(step, decided), step.resources
    assert resources.lease is not None, "users are moved by the leader: cells compare its number"

    async def told(line: str) -> None:
        with suppress(DatabaseFailure):  # who watches hears of it later; a lost lease or a cancellation is none
            await step.checkpoint(step.progress or {"begun": True}, line)

    async with resources.cells("moved without a reason") as admin:
        source, target = (CellSide(admin, cell, move.move_id, resources.lease) for cell in (move.source, move.target))
        yield Driver(move, source, target, resources.clock.monotonic, asyncio.sleep, uuid4, told)


USERS_MOVE: Final[Kind[StackResources]] = Kind(
    name="users.move",
    version=1,
    summary="Users move to another cell while they trade: copied, proven, handed over in milliseconds, with a receipt.",
    parse=parse,
    observe=observe,
    plan=plan,
    preview=preview,
    actions={
        "begin": Action(_begin, decide=_decide, undo=_let_go, finding=stays),
        "copy": Action(_copy, finding=stays),
        "hand_over": Action(_hand_over),
        "pin": Action(_pin),
        "acknowledge": Action(_acknowledge, finding=unacknowledged),
    },
    conclude=conclude,
    needs_reason=True,
)
