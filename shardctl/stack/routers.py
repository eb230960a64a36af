"""Routers of the running stack: the readiness of each. The rolling restart is an operation (`operations/kinds/`)."""

from dataclasses import dataclass
from typing import Any

from infra.backends.backend import Backend
from infra.backends.cell_spec import ProcessKind


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
