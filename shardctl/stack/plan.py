"""Plan a stack from the options of `shardctl up`. Pure.

A new stack takes its profile's defaults for options that were not given; an existing one keeps what it has. `up` never
removes a cell, because users live there. It never sets a stack's clock back, because its books hold later times.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from infra.backends.cell_spec import CellSpec, Profile, SpecInvalid, StackSpec, next_cell_name
from shardctl.errors import Refused

CELLS_DEFAULT = 2
"""The fewest that show what cells are for."""
_REPLACED: Final = (
    "routers", "risk_profile", "market_hours", "share_transfers", "admission_rate", "clock_offset_s", "monitoring",
    "approvals", "oidc",
)  # fmt: skip
"""Options that have the same name and meaning in a `StackSpec`."""
_PRODUCTION: Final = ("XNYS", "approve")
_HOURS_AND_TRANSFERS: Final = {
    Profile.LOCAL: ("always", "accept"),
    Profile.PRODUCTION: _PRODUCTION,
    Profile.REHEARSAL: _PRODUCTION,
}


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Options of `shardctl up`; None: not given."""

    cells: int | None = None
    apis: int | None = None
    routers: int | None = None
    risk_profile: str | None = None
    market_hours: str | None = None
    profile: str | None = None
    share_transfers: str | None = None
    admission_rate: float | None = None
    clock_offset_s: float | None = None
    monitoring: bool | None = None
    approvals: tuple[str, ...] | None = None
    oidc: Mapping[str, str] | None = None
    """Empty: nobody is let in from elsewhere any more."""

    def given(self) -> dict[str, Any]:
        """The options that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def plan_spec(existing: StackSpec | None, options: StackOptions, external: Mapping[str, str]) -> StackSpec:
    """The stack to run.

    `external` names servers that someone else runs (`REDIS_URL`, `KAFKA_BOOTSTRAP_SERVERS`, `KAFKA_TOPIC_PREFIX`). It
    decides for a new stack only; an existing one keeps its own. Raises Refused for a change that an existing stack does
    not allow (fewer cells, another profile, an earlier clock), SpecInvalid for a value that no stack can have.
    """
    if existing is None:
        return _new_spec(options, external)
    _refuse_forbidden_changes(existing, options)
    wanted = len(existing.cells) if options.cells is None else options.cells
    apis = existing.cells[0].apis if options.apis is None else options.apis
    spec = _with_cells(existing, wanted, apis)
    if options.apis is not None:
        spec = replace(spec, cells=tuple(replace(cell, apis=options.apis) for cell in spec.cells))
    return replace(spec, **{name: value for name, value in options.given().items() if name in _REPLACED})


def cells_at_once(existing: StackSpec | None, wanted: StackSpec) -> int:
    """How many of the cells `up` makes itself. A new stack gets all of them; one that was there before keeps its own,
    and each further one comes by an operation."""
    return len(wanted.cells if existing is None else existing.cells)


def _refuse_forbidden_changes(existing: StackSpec, options: StackOptions) -> None:
    if options.cells is not None and options.cells < len(existing.cells):
        raise Refused(f"the stack has {len(existing.cells)} cells and users live there: `up` never removes one")
    if options.profile is not None and _profile(options.profile) is not existing.profile:
        raise Refused(f"the profile of this stack is {existing.profile}: it is chosen when a stack is made")
    if options.clock_offset_s is not None and options.clock_offset_s < existing.clock_offset_s:
        raise Refused(f"the clock of this stack is {existing.clock_offset_s} s ahead and is never put back")


def profile_defaults(profile: Profile) -> dict[str, Any]:
    """What a new stack of that profile has where no option says otherwise, by field of the specification."""
    hours, transfers = _HOURS_AND_TRANSFERS[profile]
    return {
        "risk_profile": "retail",
        "market_hours": hours,
        "share_transfers": transfers,
        "admission_rate": 0.0,
        "clock_offset_s": 0.0,
        "monitoring": False,
        "approvals": (),
        "oidc": {},
    }


def _profile(name: str) -> Profile:
    try:
        return Profile(name)
    except ValueError as error:
        raise SpecInvalid(f"profile {name!r}: {', '.join(Profile)}") from error


def _new_spec(options: StackOptions, external: Mapping[str, str]) -> StackSpec:
    """A stack that is brought up for the first time: what the options say, else the profile, else the defaults.

    Market hours and share transfers are the only settings that a profile decides. Servers outside the stack come from
    `external`, the shell's variables; an empty variable is none. Raises SpecInvalid.
    """
    count = CELLS_DEFAULT if options.cells is None else options.cells
    apis = 1 if options.apis is None else options.apis
    profile = _profile(options.profile or Profile.LOCAL)
    defaults = profile_defaults(profile)
    chosen = {**defaults, **{name: value for name, value in options.given().items() if name in defaults}}
    return StackSpec(
        cells=tuple(CellSpec(f"cell-{number}", apis) for number in range(1, count + 1)),
        routers=1 if options.routers is None else options.routers,
        profile=profile,
        **chosen,
        redis_url=external.get("REDIS_URL") or None,
        kafka_bootstrap_servers=external.get("KAFKA_BOOTSTRAP_SERVERS") or None,
        topic_prefix=external.get("KAFKA_TOPIC_PREFIX", ""),
    )


def _with_cells(spec: StackSpec, wanted: int, apis: int) -> StackSpec:
    while len(spec.cells) < wanted:
        spec = spec.with_cell(CellSpec(next_cell_name(frozenset(cell.name for cell in spec.cells)), apis))
    return spec
