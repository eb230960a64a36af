"""Routers of the running stack: the readiness of each, and a rolling restart.

The restart stops at the first router that does not become ready again; the others were not touched and keep serving.
"""

from dataclasses import dataclass
from typing import Any

from infra.backends.backend import Backend, process_names
from infra.backends.cell_spec import ProcessKind
from shardctl.acts.recording import recorded_act
from shardctl.errors import Refused
from shardctl.stack.renew import renew_processes


@dataclass(frozen=True, slots=True)
class RouterRow:
    router: str
    state: str
    """ready, draining, not ready, or silent."""
    url: str
    map_epoch: Any = None
    map_taken_at: Any = None
    map_lineage: Any = None
    map_source: Any = None
    map_confirmed_s_ago: Any = None
    started_at: Any = None


async def list_routers(backend: Backend) -> list[RouterRow]:
    """Every planned router; one that does not answer is listed as silent."""
    rows = []
    for process in await backend.plan():
        if process.kind is ProcessKind.ROUTER:
            facts = await backend.readiness_facts(process)
            shown = {name: facts.get(name) for name in RouterRow.__slots__ if name.startswith(("map_", "started"))}
            state = "draining" if facts.get("draining") else str(facts.get("status", "silent"))
            rows.append(RouterRow(process.name, state, f"http://127.0.0.1:{process.port}", **shown))
    return rows


async def restart_routers(
    backend: Backend, name: str | None, *, reason: str | None = None, unrecorded: bool = False
) -> tuple[str, ...]:
    """Restart all, or the one that is named; returns their names. Raises Refused for an unknown name, BackendError if
    one does not become ready again."""
    known = await process_names(backend, lambda process: process.kind is ProcessKind.ROUTER)
    if name is not None and name not in known:
        raise Refused(f"there is no router {name}; there are: {', '.join(known)}")
    wanted = known if name is None else (name,)
    act = recorded_act(backend, "restart_routers", name or "all", reason=reason, unrecorded=unrecorded)
    async with act, backend.lock():
        await renew_processes(backend, wanted)
    return wanted
