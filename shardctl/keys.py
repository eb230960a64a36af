"""Which keys every process of a running stack holds, compared with those of the files.

A dropped key is void only in a process that does not hold it any more, so after a rotation (`operations/kinds/`) every
process is asked. A process that hangs counts as not current: what it holds is not known.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.backends.backend import Backend, Observation
from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.security.keys import CUSTOMER_SIGNING_FILE, CUSTOMER_VERIFY_FILE, OPERATOR_VERIFY_FILE, ROUTE_FILE
from infra.security.rotation import FILES, SHARED, list_keys

ANSWER_WITHIN_S: Final = 10.0
"""How long a process may take until it holds the new keys and says so: far longer than a busy one needs."""
_PAUSE_S: Final = 0.2
"""Between two questions to one process."""
HELD_BY: Final[Mapping[ProcessKind, tuple[str, ...]]] = {
    ProcessKind.ROUTER: (CUSTOMER_SIGNING_FILE, CUSTOMER_VERIFY_FILE, ROUTE_FILE),
    ProcessKind.API: (ROUTE_FILE, OPERATOR_VERIFY_FILE),
    ProcessKind.EXCHANGE: (OPERATOR_VERIFY_FILE,),
}
"""The key files that each kind of process reads; other kinds read none."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """One process, and whether it holds the keys of the files and no others."""

    process: str
    is_current: bool
    detail: str


async def ask_holders(backend: Backend, within_s: float = ANSWER_WITHIN_S) -> tuple[KeyHolder, ...]:
    """Ask every process that reads keys, all at once; each is asked again until it holds those of the files, or until
    `within_s` is over."""
    wanted = {
        file: frozenset(row.kid for row in list_keys(backend.keys_folder, ring))
        for ring in SHARED
        for file in FILES[ring]
    }
    pids = {status.name: status.pid for status in await backend.status()}
    asked = [process for process in await backend.plan() if process.kind in HELD_BY]
    until_s = asyncio.get_running_loop().time() + within_s
    return tuple(
        await asyncio.gather(
            *(_ask_until(backend, process, pids.get(process.name), wanted, until_s) for process in asked)
        )
    )


async def _ask_until(
    backend: Observation, process: ProcessSpec, pid: int | None, wanted: Mapping[str, frozenset[str]], until_s: float
) -> KeyHolder:
    loop = asyncio.get_running_loop()
    while True:
        facts = {} if pid is None else await backend.readiness_facts(process)
        holder = judge_holder(process.name, process.kind, pid, facts, wanted)
        if holder.is_current or loop.time() >= until_s:
            return holder
        await asyncio.sleep(_PAUSE_S)


def judge_holder(
    name: str, kind: ProcessKind, pid: int | None, facts: Mapping[str, Any], wanted: Mapping[str, frozenset[str]]
) -> KeyHolder:
    """Compare the keys that a process holds (`facts`, its readiness; empty: no answer) with those of the files. Pure.

    Not running: current, because it reads the files when it starts. No answer: not current. Otherwise it must hold
    every key of the files it reads (`does not know`) and no other (`still takes`).
    """
    if pid is None:
        return KeyHolder(name, is_current=True, detail="does not run; it reads the files when it starts")
    if not facts:
        return KeyHolder(
            name, is_current=False, detail=f"runs (pid {pid}) and does not answer; which keys it holds is not known"
        )
    keys = facts.get("keys")
    held = {file: frozenset(keys.get(file, ())) for file in HELD_BY[kind]} if isinstance(keys, dict) else {}
    old = sorted(kid for file, kids in held.items() for kid in kids - wanted[file])
    new = sorted({kid for file in HELD_BY[kind] for kid in wanted[file] - held.get(file, frozenset())})
    problems = [f"still takes {', '.join(old)}"] if old else []
    problems += [f"does not know {', '.join(new)}"] if new else []
    return KeyHolder(name, is_current=not problems, detail="; ".join(problems) or "current")
