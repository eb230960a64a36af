"""Rotate a stack's keys: add, wait until every process has looked, activate, drop what has expired; then ask every
process which keys it holds, because a dropped key is void only where it is not held any more.

May be repeated and may follow a crash at any step; two of them wait for each other.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.readiness import readiness_facts
from infra.security.keys import CUSTOMER_SIGNING_FILE, CUSTOMER_VERIFY_FILE, OPERATOR_FILE, ROUTE_FILE
from infra.security.rotation import FILES, KEPT_S, Rotated, activate_key, add_key, drop_old_keys, list_keys

SETTLE_S: Final = 3.0
"""Every process looks at its key files once a second, when it is asked something; the rest is for a busy machine, and
for what waits in a router, already signed, for a place in its cell."""
HEARD_WITHIN_S: Final = 10.0
"""How long a process may take to say which keys it holds: far longer than a busy one needs."""
_PAUSE_S: Final = 0.2
HELD_BY: Final[Mapping[ProcessKind, tuple[str, ...]]] = {
    ProcessKind.ROUTER: (CUSTOMER_SIGNING_FILE, CUSTOMER_VERIFY_FILE, ROUTE_FILE),
    ProcessKind.API: (ROUTE_FILE, OPERATOR_FILE),
    ProcessKind.EXCHANGE: (OPERATOR_FILE,),
}
"""The key files that each kind of process goes by; the others have none."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    ring: Rotated
    kid: str
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """One process, and whether it goes by the keys that the files hold."""

    process: str
    is_current: bool
    said: str


@dataclass(frozen=True, slots=True)
class Rotation:
    changes: tuple[KeyChange, ...]
    holders: tuple[KeyHolder, ...]


async def rotate_keys(
    backend: LocalBackend, rings: tuple[Rotated, ...], now_s: int, *, drop_old: bool, settle_s: float = SETTLE_S
) -> Rotation:
    folder = backend.folder.keys
    async with backend.lock():
        added = {ring: add_key(folder, ring) for ring in rings}
        await asyncio.sleep(settle_s)
        for ring, kid in added.items():
            activate_key(folder, ring, kid, now_s)
        if drop_old:
            await asyncio.sleep(settle_s)  # signers first: a key must not vanish under a token that is being made
        changes = tuple(
            KeyChange(ring, kid, drop_old_keys(folder, ring, now_s, kept_s=0 if drop_old else KEPT_S[ring]))
            for ring, kid in added.items()
        )
        return Rotation(changes, await ask_holders(backend))


async def ask_holders(backend: LocalBackend, within_s: float = HEARD_WITHIN_S) -> tuple[KeyHolder, ...]:
    """Every process that goes by keys, all at once; each is asked until it holds what the files hold, or time is up."""
    wanted = {
        file: frozenset(row.kid for row in list_keys(backend.folder.keys, ring))
        for ring, files in FILES.items()
        for file in files
    }
    pids = {status.name: status.pid for status in await backend.status()}
    asked = [process for process in await backend.plan() if process.kind in HELD_BY]
    until_s = asyncio.get_running_loop().time() + within_s
    return tuple(
        await asyncio.gather(*(_ask_until(process, pids.get(process.name), wanted, until_s) for process in asked))
    )


async def _ask_until(
    process: ProcessSpec, pid: int | None, wanted: Mapping[str, frozenset[str]], until_s: float
) -> KeyHolder:
    loop = asyncio.get_running_loop()
    while True:
        facts = {} if pid is None else await readiness_facts(process)
        holder = judge_holder(process.name, process.kind, pid, facts, wanted)
        if holder.is_current or loop.time() >= until_s:
            return holder
        await asyncio.sleep(_PAUSE_S)


def judge_holder(
    name: str, kind: ProcessKind, pid: int | None, facts: Mapping[str, Any], wanted: Mapping[str, frozenset[str]]
) -> KeyHolder:
    """What a process's own words (none: it did not answer) say about the keys in the files. Pure."""
    if pid is None:
        return KeyHolder(name, is_current=True, said="does not run; it reads the files when it starts")
    if not facts:
        return KeyHolder(
            name, is_current=False, said=f"runs (pid {pid}) and does not answer; what it holds is not known"
        )
    told = facts.get("keys")
    held = {file: frozenset(told.get(file, ())) for file in HELD_BY[kind]} if isinstance(told, dict) else {}
    old = sorted(kid for file, kids in held.items() for kid in kids - wanted[file])
    new = sorted({kid for file in HELD_BY[kind] for kid in wanted[file] - held.get(file, frozenset())})
    said = [f"still takes {', '.join(old)}"] if old else []
    said += [f"does not know {', '.join(new)}"] if new else []
    return KeyHolder(name, is_current=not said, said="; ".join(said) or "current")
