"""Settings of a process tell who said them; the table of options is proven by changing each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.backends.addresses import Addresses, Endpoint
from infra.backends.cell_spec import CellSpec, ProcessSpec, Profile, StackSpec
from infra.backends.plan import HostLayout, plan_services, port_names, roles_by_server
from infra.backends.preview import MASK
from shardctl.stack.origins import FIELDS, OPTIONS, SettingRow, setting_rows
from shardctl.stack.plan import profile_defaults

SPEC = StackSpec((CellSpec("cell-1"),))
OTHER: dict[str, Any] = {
    "risk_profile": "professional", "market_hours": "XNYS", "share_transfers": "approve", "admission_rate": 5.0,
    "clock_offset_s": 60.0, "approvals": ("cells.add",), "oidc": {"ISSUER": "https://x", "LISTEN__PORT": "1"},
}  # fmt: skip


def planned(spec: StackSpec) -> dict[str, ProcessSpec]:
    endpoints = {name: Endpoint("127.0.0.1", 1) for name in port_names(spec)}
    dsns = {server: dict.fromkeys(roles.all, "host=x") for server, roles in roles_by_server(spec).items()}
    layout = HostLayout(Path("keys"), Path("maps"), Path("exchange"), Path("socket"))
    return {process.name: process for process in plan_services(Addresses(spec, endpoints, dsns), layout)}


def origins(spec: StackSpec, name: str) -> dict[str, str]:
    return {row.name: row.origin for row in setting_rows(spec, planned(spec)[name], None)}


@pytest.mark.parametrize("field", OTHER)
def test_what_an_option_changes_names_that_option(field: str) -> None:
    """Whatever setting of whatever process differs when one option does has that origin, and no other setting has."""
    assert set(OTHER) == set(FIELDS.values()) == set(OPTIONS)
    spec = replace(SPEC, **{field: OTHER[field]})
    before, after = planned(SPEC), planned(spec)
    for name in after:
        old, new = before[name].environment, after[name].environment
        changed = {setting for setting in new if new[setting] != old.get(setting)}
        told = {setting for setting, origin in origins(spec, name).items() if origin == f"up {OPTIONS[field]}"}
        assert told == changed, name


def test_what_was_not_chosen_comes_from_the_profile_or_the_record() -> None:
    found = origins(SPEC, "router-1")
    assert found["ROUTER_LIMITS__USER_PER_S"] == found["ROUTER_EDGE__CLIENTS_PER_ADDRESS_MAX"] == "profile local"
    assert found["ROUTER_CLOCK__OFFSET_S"] == "default of the profile local"
    assert found["ROUTER_LISTEN__PORT"] == "the stack's record"
    production = StackSpec(SPEC.cells, profile=Profile.PRODUCTION, market_hours="XNYS", share_transfers="approve")
    assert origins(production, "cell-1-worker")["CELL_MARKET_HOURS"] == "default of the profile production"
    assert profile_defaults(Profile.PRODUCTION)["share_transfers"] == "approve"


def test_what_runs_otherwise_and_what_the_shell_said_are_told() -> None:
    process = ProcessSpec("x", next(iter(planned(SPEC).values())).kind, (), environment={"CELL_A": "1", "CELL_B": "2"})
    running = {"CELL_A": "1", "CELL_POOL": "9", "CELL_TOKEN": "hunter2", "CELL_URL": "redis://:hunter2@x/0"}
    assert setting_rows(SPEC, process, running) == [
        SettingRow("CELL_A", "1", "the stack's record"),
        SettingRow("CELL_B", "2", "the stack's record", runs_with="(not set)"),
        SettingRow("CELL_POOL", "9", "the shell that started the stack"),
        SettingRow("CELL_TOKEN", MASK, "the shell that started the stack"),
        SettingRow("CELL_URL", f"redis://:{MASK}@x/0", "the shell that started the stack"),
    ]
    rows = setting_rows(SPEC, process, {"CELL_A": "0", "CELL_B": "2"})
    assert rows[0].runs_with == "0"
