"""The stand-in: one further instance, on ports of its own, while a process is renewed. Pure.

A stack has one, so processes are renewed one at a time, and one machine needs room for one more.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from infra.backends.addresses import OPERATOR, Addresses
from infra.backends.cell_spec import ProcessKind, ProcessSpec

STAND_IN: Final = "stand-in"
PORT_NAMES: Final = (STAND_IN, STAND_IN + OPERATOR)
PREFIXES: Final[Mapping[ProcessKind, str]] = {
    ProcessKind.API: "CELL",
    ProcessKind.WORKER: "CELL",
    ProcessKind.RELAY: "CELL",
    ProcessKind.ROUTER: "ROUTER",
}
"""Kinds of which two may run at once. The exchange is not one: its log has one writer."""
STOOD_IN: Final = frozenset({ProcessKind.API, ProcessKind.WORKER, ProcessKind.RELAY})
"""Kinds whose work the stand-in does while they start anew. Of a router it only proves the settings: its customers know
its address."""


def stand_in_for(process: ProcessSpec, port: int, operator_port: int) -> ProcessSpec:
    """The same command and settings on other ports; a router has a name and a map file of its own besides."""
    prefix = PREFIXES[process.kind]
    settings = {**process.environment, f"{prefix}_OPERATOR__PORT": str(operator_port)}
    if process.port is not None:
        settings[f"{prefix}_LISTEN__PORT"] = str(port)
    if process.kind is ProcessKind.ROUTER:
        settings["ROUTER_NAME"] = STAND_IN
        settings["ROUTER_MAP_FILE"] = str(Path(settings["ROUTER_MAP_FILE"]).with_name(f"{STAND_IN}.map"))
    return replace(
        process,
        name=STAND_IN,
        port=None if process.port is None else port,
        operator_port=operator_port,
        environment=settings,
    )


def addresses_through(addresses: Addresses, name: str) -> Addresses:
    """Where everything is reached while the stand-in answers for `name`."""
    instead = {
        name: addresses.endpoints[STAND_IN],
        name + OPERATOR: addresses.endpoints[STAND_IN + OPERATOR],
    }
    return replace(addresses, endpoints={**addresses.endpoints, **instead})
