"""From what an operator says to the stack that shall run: pure.

A new stack takes the defaults for what was not said; an existing one keeps what it has. `up` never removes a cell:
users live there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from infra.backends.cell_spec import CellSpec, StackSpec, next_cell_name
from shardctl.errors import Refused

CELLS_DEFAULT = 2


@dataclass(frozen=True, slots=True)
class Wishes:
    """Flags of `shardctl up`; None means not said."""

    cells: int | None = None
    apis: int | None = None
    routers: int | None = None
    risk_profile: str | None = None
    market_hours: str | None = None


def plan_spec(existing: StackSpec | None, wishes: Wishes, foreign: Mapping[str, str]) -> StackSpec:
    """The stack to run. `foreign` holds servers that somebody else runs (`REDIS_URL`, `KAFKA_BOOTSTRAP_SERVERS`,
    `KAFKA_TOPIC_PREFIX`); it decides for a new stack only, an existing one keeps its own."""
    if existing is None:
        return _new_spec(wishes, foreign)
    wanted = wishes.cells if wishes.cells is not None else len(existing.cells)
    if wanted < len(existing.cells):
        raise Refused(f"the stack has {len(existing.cells)} cells and users live there: `up` never removes one")
    spec = _with_cells(existing, wanted, wishes.apis or existing.cells[0].apis)
    if wishes.apis is not None:
        spec = replace(spec, cells=tuple(replace(cell, apis=wishes.apis) for cell in spec.cells))
    if wishes.routers is not None:
        spec = replace(spec, routers=wishes.routers)
    if wishes.risk_profile is not None:
        spec = replace(spec, risk_profile=wishes.risk_profile)
    if wishes.market_hours is not None:
        spec = replace(spec, market_hours=wishes.market_hours)
    return spec


def _new_spec(wishes: Wishes, foreign: Mapping[str, str]) -> StackSpec:
    count = CELLS_DEFAULT if wishes.cells is None else wishes.cells
    apis = 1 if wishes.apis is None else wishes.apis
    return StackSpec(
        cells=tuple(CellSpec(f"cell-{number}", apis) for number in range(1, count + 1)),
        routers=1 if wishes.routers is None else wishes.routers,
        risk_profile=wishes.risk_profile or "retail",
        market_hours=wishes.market_hours or "always",
        redis_url=foreign.get("REDIS_URL") or None,
        kafka_bootstrap_servers=foreign.get("KAFKA_BOOTSTRAP_SERVERS") or None,
        topic_prefix=foreign.get("KAFKA_TOPIC_PREFIX", ""),
    )


def _with_cells(spec: StackSpec, wanted: int, apis: int) -> StackSpec:
    while len(spec.cells) < wanted:
        spec = spec.with_cell(CellSpec(next_cell_name(frozenset(cell.name for cell in spec.cells)), apis))
    return spec
