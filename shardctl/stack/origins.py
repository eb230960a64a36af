"""The settings of a process of a stack, and who said each: an option of `up`, the profile, the stack's record, or the
shell that started the stack. Pure; secrets are masked.

Only what is given to a process is told. A setting that is not in its list has the program's own default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from infra.backends.cell_spec import ProcessSpec, StackSpec
from infra.backends.preview import masked
from shardctl.stack.plan import profile_defaults

FIELDS: Final[Mapping[str, str]] = {
    "NEW_USER_PROFILE": "risk_profile",
    "MARKET_HOURS": "market_hours",
    "SHARE_TRANSFERS": "share_transfers",
    "ADMISSION__ORDERS_PER_S": "admission_rate",
    "CLOCK__OFFSET_S": "clock_offset_s",
    "APPROVALS": "approvals",
    "OIDC": "oidc",
}
"""By a setting's name without its first word (`CELL_`, `ROUTER_`, ...), or by its group: the field of the stack's
specification."""
BY_PROFILE: Final = ("LIMITS__", "EDGE__")
"""Beginnings of the settings that only the profile decides."""
OPTIONS: Final[Mapping[str, str]] = {
    "risk_profile": "--risk-profile",
    "market_hours": "--market-hours",
    "share_transfers": "--share-transfers",
    "admission_rate": "--admission-rate",
    "clock_offset_s": "--clock-offset",
    "approvals": "--approvals",
    "oidc": "--oidc",
}


@dataclass(frozen=True, slots=True)
class SettingRow:
    name: str
    value: str
    origin: str
    runs_with: str | None = None
    """What the running process has instead, until `up` renews it; None if the same, or if it does not run."""


def setting_rows(spec: StackSpec, process: ProcessSpec, running: Mapping[str, str] | None) -> list[SettingRow]:
    """By name. `running`: the settings that the process was started with; None if it does not run."""
    rows = [
        SettingRow(name, masked(name, value), _origin(spec, name), _otherwise(name, value, running))
        for name, value in process.environment.items()
    ]
    rows += [
        SettingRow(name, masked(name, value), "the shell that started the stack")
        for name, value in (running or {}).items()
        if name not in process.environment
    ]
    return sorted(rows, key=lambda row: row.name)


def _origin(spec: StackSpec, name: str) -> str:
    short = name.partition("_")[2]
    if short.startswith(BY_PROFILE):
        return f"profile {spec.profile}"
    field = FIELDS.get(short) or FIELDS.get(short.partition("__")[0])
    if field is None:
        return "the stack's record"
    if getattr(spec, field) == profile_defaults(spec.profile)[field]:
        return f"default of the profile {spec.profile}"
    return f"up {OPTIONS[field]}"


def _otherwise(name: str, value: str, running: Mapping[str, str] | None) -> str | None:
    if running is None or running.get(name) == value:
        return None
    return masked(name, running[name]) if name in running else "(not set)"
