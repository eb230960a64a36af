"""From a stack's spec to the processes of ours: pure. What runs, with which command, settings and ports.

One spec gives names, ports, roles and settings, whatever back end runs them; a back end adds the servers that others
wrote (PostgreSQL, Redis, Kafka) and where things lie on the machine. The commands of our services are named here and
nothing else of them is known. No password stands in a command or a setting.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.backends.addresses import (
    CONTROL_POSTGRES,
    CONTROL_SERVICE,
    EXCHANGE,
    KAFKA,
    OPERATOR,
    PROMETHEUS,
    REDIS,
    Addresses,
)
from infra.backends.cell_spec import (
    CellSpec,
    Job,
    ProcessKind,
    ProcessSpec,
    Profile,
    StackSpec,
    api_names,
    postgres_name,
    router_names,
)
from infra.backends.roles import CELL, CELL_MOVER, CONTROL, CONTROL_LEADER, DatabaseRoles
from infra.runtime.build import build_id
from infra.runtime.release_code import release_code

CONTROLLER = ".controller"
"""Ending of the name of the port by which Kafka's controller is reached."""

STOP_ORDER: tuple[tuple[ProcessKind, ...], ...] = (
    (ProcessKind.CONTROL,),  # so that nobody starts again what is being stopped
    (ProcessKind.ROUTER, ProcessKind.PROMETHEUS),
    (ProcessKind.API,),
    (ProcessKind.WORKER, ProcessKind.RELAY),
    (ProcessKind.EXCHANGE,),
    (ProcessKind.POSTGRES, ProcessKind.REDIS, ProcessKind.KAFKA),
    (ProcessKind.ARCHIVE,),
)
"""Who asks stops before who answers: routers first, databases last; then the archives, to which a database
sends the end of its log while it stops."""

RENEWAL_ORDER: tuple[frozenset[ProcessKind], ...] = (
    frozenset({ProcessKind.POSTGRES, ProcessKind.REDIS, ProcessKind.KAFKA, ProcessKind.ARCHIVE}),
    frozenset({ProcessKind.API, ProcessKind.WORKER, ProcessKind.RELAY}),
    frozenset({ProcessKind.EXCHANGE, ProcessKind.PROMETHEUS, ProcessKind.CONTROL}),
    frozenset({ProcessKind.ROUTER}),
)
"""Who is renewed first when many are, and within a stage in the order of the plan, cell by cell. An app server of the
first cell finds out settings that do not work; the routers, whom everybody meets, come when all else is well."""


def in_renewal_order(processes: Iterable[ProcessSpec]) -> tuple[str, ...]:
    known = list(processes)
    return tuple(process.name for stage in RENEWAL_ORDER for process in known if process.kind in stage)


@dataclass(frozen=True, slots=True)
class HostLayout:
    """Where a process of ours finds its files, and listens, on the host where it runs."""

    keys: Path
    """The folder of key files."""
    maps: Path
    """The folder of routers' last good maps."""
    exchange_data: Path
    control_socket: Path
    """Where commands reach the control service."""
    stack: Mapping[str, str] = field(default_factory=dict)
    """Settings by which a process of `shardctl` finds this stack: its name, its back end, where that remembers it."""
    listen_host: str = "127.0.0.1"
    python: str = sys.executable


def own_keys(keys: Path, cell: str) -> Path:
    """The folder of what one cell alone signs with."""
    return keys / "cells" / cell


def roles_by_server(spec: StackSpec) -> dict[str, DatabaseRoles]:
    """Every database server of the stack, and the roles that need a password there."""
    return {CONTROL_POSTGRES: CONTROL, **{postgres_name(cell.name): CELL for cell in spec.cells}}


def port_names(spec: StackSpec) -> tuple[str, ...]:
    """Every port the stack needs, by name."""
    names = [*roles_by_server(spec), EXCHANGE, EXCHANGE + OPERATOR, CONTROL_SERVICE + OPERATOR]
    if spec.redis_url is None:
        names.append(REDIS)
    if spec.kafka_bootstrap_servers is None:
        names += [KAFKA, KAFKA + CONTROLLER]
    if spec.monitoring:
        names.append(PROMETHEUS)
    for router in router_names(spec):
        names += [router, router + OPERATOR]
    for cell in spec.cells:
        for api in api_names(cell):
            names += [api, api + OPERATOR]
        names += [f"{cell.name}-worker{OPERATOR}", f"{cell.name}-relay{OPERATOR}"]
    return tuple(names)


def plan_services(addresses: Addresses, layout: HostLayout) -> tuple[ProcessSpec, ...]:
    """Every process of ours, those first whom others need. A stack that an older release made has no port for the
    control service before its next `up`; until then `status` and `down` do without it."""
    planned = [_control(addresses, layout)] if CONTROL_SERVICE + OPERATOR in addresses.endpoints else []
    planned.append(_exchange(addresses, layout))
    for cell in addresses.spec.cells:
        planned += _cell(addresses, layout, cell)
    planned += [_router(addresses, layout, name) for name in router_names(addresses.spec)]
    return tuple(planned)


SOURCE_DSN: Final = "CELL_SOURCE_DSN"
"""For a job that compares a restored copy: the server that it is a copy of."""


def job_command(job: Job, addresses: Addresses, layout: HostLayout) -> tuple[tuple[str, ...], dict[str, str]]:
    """Command and settings of a job. The only ones that know a database's owner."""
    command = (layout.python, "-m", job.package, *job.arguments)
    if job.package == "shardctl":
        return command, {**layout.stack, "CONTROL_OWNER_DSN": addresses.dsn(CONTROL_POSTGRES, CONTROL.owner)}
    cell = next((cell for cell in addresses.spec.cells if cell.name == job.cell), None)
    if cell is None:
        return command, {}
    return command, {
        **cell_settings(addresses, layout, cell.name),
        **_listen("CELL", addresses, layout, api_names(cell)[0]),
        "CELL_POSTGRES__OWNER_DSN": addresses.dsn(postgres_name(cell.name), CELL.owner),
    }


def _listen(prefix: str, addresses: Addresses, layout: HostLayout, name: str) -> dict[str, str]:
    """Listening addresses of one process; port 0 where it serves operators only."""
    customers = addresses.endpoints.get(name)
    return {
        f"{prefix}_LISTEN__HOST": layout.listen_host,
        f"{prefix}_LISTEN__PORT": str(customers.port if customers else 0),
        f"{prefix}_OPERATOR__HOST": layout.listen_host,
        f"{prefix}_OPERATOR__PORT": str(addresses.port(name + OPERATOR)),
    }


def _clock(prefix: str, spec: StackSpec) -> dict[str, str]:
    """Always said, so that nothing in the shell that starts a stack shifts its clock."""
    return {f"{prefix}_CLOCK__OFFSET_S": str(spec.clock_offset_s)}


def _control(addresses: Addresses, layout: HostLayout) -> ProcessSpec:
    settings = {
        **layout.stack,
        "CONTROL_OPERATOR__HOST": layout.listen_host,
        "CONTROL_OPERATOR__PORT": str(addresses.port(CONTROL_SERVICE + OPERATOR)),
        "CONTROL_DSN": addresses.dsn(CONTROL_POSTGRES, CONTROL_LEADER),
        # Whose code it is to run: `up` renews it when the checkout's is another.
        "CONTROL_BUILD": build_id(),
        "CONTROL_SOCKET": str(layout.control_socket),
        **_clock("CONTROL", addresses.spec),
        **_persons(addresses.spec),
    }
    command = (layout.python, "-m", "shardctl", "serve")
    return _ours(CONTROL_SERVICE, ProcessKind.CONTROL, command, settings, addresses)


def _persons(spec: StackSpec) -> dict[str, str]:
    """Always said, so that no shell that starts a stack lets anybody in, or does without a second person."""
    oidc = {f"CONTROL_OIDC__{name}": value for name, value in spec.oidc.items()}
    return {"CONTROL_APPROVALS": json.dumps(spec.approvals), **(oidc or {"CONTROL_OIDC": "null"})}


def _exchange(addresses: Addresses, layout: HostLayout) -> ProcessSpec:
    spec = addresses.spec
    settings = {
        **_listen("EXCHANGE", addresses, layout, EXCHANGE),
        "EXCHANGE_DATA_DIR": str(layout.exchange_data),
        "EXCHANGE_MARKET_HOURS": spec.market_hours,
        **_clock("EXCHANGE", spec),
        "EXCHANGE_SEED": str(spec.exchange_seed),
        "EXCHANGE_KEYS_DIR": str(layout.keys),
    }
    return _ours(EXCHANGE, ProcessKind.EXCHANGE, (layout.python, "-m", "exchange", "serve"), settings, addresses)


# On one machine one address plays all customers, and a benchmark's customer never rests.
_ROUTER_LIMITS = {
    "ROUTER_LIMITS__USER_PER_S": "2000",
    "ROUTER_LIMITS__USER_BURST": "5000",
    "ROUTER_LIMITS__ADDRESS_PER_S": "20000",
    "ROUTER_LIMITS__ADDRESS_BURST": "50000",
    "ROUTER_LIMITS__IDENTITY_PER_S": "1000",
    "ROUTER_LIMITS__IDENTITY_BURST": "5000",
    "ROUTER_EDGE__CLIENTS_PER_ADDRESS_MAX": "20000",
}


def _admission(spec: StackSpec) -> dict[str, str]:
    """Clients are spread over the routers, so each has an equal part of a cell's rate."""
    if not spec.admission_rate:
        return {}
    return {"ROUTER_ADMISSION__ORDERS_PER_S": f"{spec.admission_rate / spec.routers:.6g}"}


def _router(addresses: Addresses, layout: HostLayout, name: str) -> ProcessSpec:
    spec = addresses.spec
    settings = {
        **_listen("ROUTER", addresses, layout, name),
        "ROUTER_NAME": name,
        "ROUTER_CONTROL__DSN": addresses.dsn(CONTROL_POSTGRES, CONTROL.service),
        # a router carries none of the control database's SQL: the release of whoever starts it says so
        "ROUTER_CONTROL__CODE": release_code("shardctl").schema,
        "ROUTER_REDIS__URL": addresses.redis_url,
        "ROUTER_MAP_FILE": str(layout.maps / f"{name}.map"),
        "ROUTER_KEYS_DIR": str(layout.keys),
        **_clock("ROUTER", spec),
        **_admission(spec),
        **(_ROUTER_LIMITS if spec.profile is Profile.LOCAL else {}),
    }
    return _ours(name, ProcessKind.ROUTER, (layout.python, "-m", "router", "serve"), settings, addresses)


def cell_settings(addresses: Addresses, layout: HostLayout, cell: str) -> dict[str, str]:
    """The settings of every process of a cell; the listening ports come on top."""
    spec = addresses.spec
    return {
        "CELL_NAME": cell,
        "CELL_INCARNATION": spec.incarnations.get(cell, ""),
        "CELL_POSTGRES__DSN": addresses.dsn(postgres_name(cell), CELL.service),
        "CELL_KEYS_DIR": str(layout.keys),
        "CELL_KAFKA__BOOTSTRAP_SERVERS": addresses.kafka,
        "CELL_KAFKA__TOPIC_PREFIX": spec.topic_prefix,
        "CELL_EXCHANGE__ADDRESS": addresses.exchange,
        "CELL_MARKET_HOURS": spec.market_hours,
        **_clock("CELL", spec),
        "CELL_NEW_USER_PROFILE": spec.risk_profile,
        "CELL_SHARE_TRANSFERS": spec.share_transfers,
        "CELL_REFERENCE_PRICE_AGE_MAX_S": str(spec.reference_price_age_max_s),
    }


def _cell(addresses: Addresses, layout: HostLayout, cell: CellSpec) -> list[ProcessSpec]:
    shared = cell_settings(addresses, layout, cell.name)
    signing = {"CELL_OWN_KEYS_DIR": str(own_keys(layout.keys, cell.name))}
    moving = {"CELL_MOVER_DSN": addresses.dsn(postgres_name(cell.name), CELL_MOVER)}
    roles: list[tuple[str, ProcessKind, str, Mapping[str, str]]] = [
        *((name, ProcessKind.API, "serve", {**signing, **moving}) for name in api_names(cell)),
        (f"{cell.name}-worker", ProcessKind.WORKER, "work", signing),
        (f"{cell.name}-relay", ProcessKind.RELAY, "relay", {}),
    ]
    return [
        _ours(
            name,
            kind,
            (layout.python, "-m", "cell", verb),
            {**shared, **signs_with, **_listen("CELL", addresses, layout, name)},
            addresses,
            cell.name,
        )
        for name, kind, verb, signs_with in roles
    ]


def _ours(
    name: str,
    kind: ProcessKind,
    command: tuple[str, ...],
    settings: Mapping[str, str],
    addresses: Addresses,
    cell: str | None = None,
) -> ProcessSpec:
    customers = addresses.endpoints.get(name)
    return ProcessSpec(
        name,
        kind,
        command,
        cell=cell,
        port=customers.port if customers else None,
        operator_port=addresses.port(name + OPERATOR),
        environment=settings,
    )
