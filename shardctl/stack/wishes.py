"""From what an operator says to the stack that shall run: pure.

A new stack takes its profile's defaults for what was not said; an existing one keeps what it has. `up` never removes a
cell: users live there. It never puts a stack's clock back: its books hold the times of later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from infra.backends.cell_spec import CellSpec, Profile, SpecInvalid, StackSpec, next_cell_name
from shardctl.errors import Refused

CELLS_DEFAULT = 2
_PRODUCTION: Final = ("XNYS", "approve")
_HOURS_AND_TRANSFERS: Final = {
    Profile.LOCAL: ("always", "accept"),
    Profile.PRODUCTION: _PRODUCTION,
    Profile.REHEARSAL: _PRODUCTION,
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """Flags of `shardctl up`; None means not said."""

    cells: int | None = None
    apis: int | None = None
    routers: int | None = None
    risk_profile: str | None = None
    market_hours: str | None = None
    profile: str | None = None
    share_transfers: str | None = None
    clock_offset_s: float | None = None


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
    if wishes.share_transfers is not None:
        spec = replace(spec, share_transfers=wishes.share_transfers)
    if wishes.profile is not None and _profile(wishes.profile) is not existing.profile:
        raise Refused(f"the profile of this stack is {existing.profile}: it is chosen when a stack is made")
    if wishes.clock_offset_s is not None:
        if wishes.clock_offset_s < existing.clock_offset_s:
            raise Refused(f"the clock of this stack is {existing.clock_offset_s} s ahead and is never put back")
        spec = replace(spec, clock_offset_s=wishes.clock_offset_s)
    return spec


def _profile(name: str) -> Profile:
    try:
        return Profile(name)
    except ValueError as error:
        raise SpecInvalid(f"profile {name!r}: {', '.join(Profile)}") from error


def _new_spec(wishes: Wishes, foreign: Mapping[str, str]) -> StackSpec:
    count = CELLS_DEFAULT if wishes.cells is None else wishes.cells
    apis = 1 if wishes.apis is None else wishes.apis
    profile = _profile(wishes.profile or Profile.LOCAL)
    hours, transfers = _HOURS_AND_TRANSFERS[profile]
    return StackSpec(
        cells=tuple(CellSpec(f"cell-{number}", apis) for number in range(1, count + 1)),
        routers=1 if wishes.routers is None else wishes.routers,
        risk_profile=wishes.risk_profile or "retail",
        profile=profile,
        market_hours=wishes.market_hours or hours,
        share_transfers=wishes.share_transfers or transfers,
        clock_offset_s=wishes.clock_offset_s or 0.0,
        redis_url=foreign.get("REDIS_URL") or None,
        kafka_bootstrap_servers=foreign.get("KAFKA_BOOTSTRAP_SERVERS") or None,
        topic_prefix=foreign.get("KAFKA_TOPIC_PREFIX", ""),
    )


def _with_cells(spec: StackSpec, wanted: int, apis: int) -> StackSpec:
    while len(spec.cells) < wanted:
        spec = spec.with_cell(CellSpec(next_cell_name(frozenset(cell.name for cell in spec.cells)), apis))
    return spec
