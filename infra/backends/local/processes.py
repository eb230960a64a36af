"""From a stack's record to its processes: pure. What runs, with which command, environment, ports, and in which order.

The commands of our own services are named here and nothing else of them is known. No password stands in a command or an
environment: a DSN names the passfile.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.backends.cell_spec import CellSpec, ProcessKind, ProcessSpec, Profile, StackSpec
from infra.backends.local import kafka, postgres, redis
from infra.backends.local.folders import StackFolder
from infra.backends.local.java import Java
from infra.backends.local.postgres import Cluster
from infra.backends.local.record import StackRecord
from infra.backends.local.roles import CELL, CONTROL, DatabaseRoles
from infra.runtime.release_code import release_code

CONTROL_POSTGRES = "control-postgres"
REDIS = "redis"
KAFKA = "kafka"
EXCHANGE = "exchange"
_OPERATOR = ".operator"
_CONTROLLER = ".controller"

STOP_ORDER: tuple[tuple[ProcessKind, ...], ...] = (
    (ProcessKind.ROUTER,),
    (ProcessKind.API,),
    (ProcessKind.WORKER, ProcessKind.RELAY),
    (ProcessKind.EXCHANGE,),
    (ProcessKind.POSTGRES, ProcessKind.REDIS, ProcessKind.KAFKA),
)
"""Who asks stops before who answers: customers' doors first, databases last."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Binaries of this machine; Redis and Kafka are absent where somebody else runs them."""

    postgres_bin: Path
    redis_server: Path | None = None
    java: Java | None = None
    kafka_class_path: str = ""
    cache: Path = Path()
    python: str = sys.executable


def router_names(spec: StackSpec) -> tuple[str, ...]:
    return tuple(f"router-{number}" for number in range(1, spec.routers + 1))


def api_names(cell: CellSpec) -> tuple[str, ...]:
    return tuple(f"{cell.name}-api-{number}" for number in range(1, cell.apis + 1))


def postgres_name(cell: str) -> str:
    return f"{cell}-postgres"


def roles_by_server(spec: StackSpec) -> dict[str, DatabaseRoles]:
    return {CONTROL_POSTGRES: CONTROL, **{postgres_name(cell.name): CELL for cell in spec.cells}}


def port_names(spec: StackSpec) -> tuple[str, ...]:
    """Every port the stack needs, by name."""
    names = [*roles_by_server(spec), EXCHANGE, EXCHANGE + _OPERATOR]
    if spec.redis_url is None:
        names.append(REDIS)
    if spec.kafka_bootstrap_servers is None:
        names += [KAFKA, KAFKA + _CONTROLLER]
    for router in router_names(spec):
        names += [router, router + _OPERATOR]
    for cell in spec.cells:
        for api in api_names(cell):
            names += [api, api + _OPERATOR]
        names += [f"{cell.name}-worker{_OPERATOR}", f"{cell.name}-relay{_OPERATOR}"]
    return tuple(names)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts of a stack are reached."""

    record: StackRecord
    folder: StackFolder
    clusters: Mapping[str, Cluster]

    @property
    def redis_url(self) -> str:
        return self.record.spec.redis_url or f"redis://127.0.0.1:{self.record.port(REDIS)}/0"

    @property
    def kafka(self) -> str:
        return self.record.spec.kafka_bootstrap_servers or f"127.0.0.1:{self.record.port(KAFKA)}"

    @property
    def exchange(self) -> str:
        return f"127.0.0.1:{self.record.port(EXCHANGE)}"

    @property
    def exchange_operator_url(self) -> str:
        return f"http://127.0.0.1:{self.record.port(EXCHANGE + _OPERATOR)}"

    @property
    def router_urls(self) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{self.record.port(name)}" for name in router_names(self.record.spec))

    def api_urls(self, cell: CellSpec) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{self.record.port(name)}" for name in api_names(cell))

    def operator_urls(self, cell: CellSpec) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{self.record.port(name + _OPERATOR)}" for name in api_names(cell))

    def operator_port(self, name: str) -> int | None:
        return self.record.ports.get(name + _OPERATOR)

    def dsn(self, server: str, role: str) -> str:
        return self.clusters[server].dsn(role, self.folder.pgpass)


def make_addresses(record: StackRecord, folder: StackFolder, passwords: Mapping[str, Mapping[str, str]]) -> Addresses:
    clusters = {
        name: Cluster(name, folder.data(name), record.port(name), roles, passwords.get(name, {}))
        for name, roles in roles_by_server(record.spec).items()
    }
    return Addresses(record, folder, clusters)


def plan_processes(addresses: Addresses, tools: Tools, server_user: str | None) -> tuple[ProcessSpec, ...]:
    """Every process of the stack, servers first."""
    record, folder = addresses.record, addresses.folder
    planned = [_postgres(cluster, tools, server_user) for cluster in addresses.clusters.values()]
    if tools.redis_server is not None:
        command = redis.server_command(tools.redis_server, record.port(REDIS), folder.data(REDIS))
        planned.append(ProcessSpec(REDIS, ProcessKind.REDIS, command, port=record.port(REDIS)))
    if tools.java is not None:
        planned.append(_kafka(addresses, tools, tools.java))
    planned.append(_exchange(addresses, tools))
    for cell in record.spec.cells:
        planned += _cell(addresses, tools, cell)
    planned += [_router(addresses, tools, name) for name in router_names(record.spec)]
    return tuple(planned)


def _postgres(cluster: Cluster, tools: Tools, server_user: str | None) -> ProcessSpec:
    return ProcessSpec(
        cluster.name,
        ProcessKind.POSTGRES,
        postgres.server_command(tools.postgres_bin, cluster.data),
        cell=cluster.name.removesuffix("-postgres") if cluster.roles is CELL else None,
        port=cluster.port,
        user=server_user,
        stop_signal="INT",  # fast shutdown: sessions end, nothing is recovered at the next start
        stop_wait_s=30,
    )


def _kafka(addresses: Addresses, tools: Tools, java: Java) -> ProcessSpec:
    command = kafka.broker_command(java, tools.kafka_class_path, tools.cache, addresses.folder.run / "kafka.properties")
    return ProcessSpec(KAFKA, ProcessKind.KAFKA, command, port=addresses.record.port(KAFKA))


def kafka_properties(addresses: Addresses) -> str:
    return kafka.render_properties(
        port=addresses.record.port(KAFKA),
        controller_port=addresses.record.port(KAFKA + _CONTROLLER),
        data=addresses.folder.data(KAFKA),
    )


def _listen(prefix: str, record: StackRecord, name: str) -> dict[str, str]:
    """Listening addresses of one process; port 0 where it serves operators only."""
    return {
        f"{prefix}_LISTEN__HOST": "127.0.0.1",
        f"{prefix}_LISTEN__PORT": str(record.ports.get(name, 0)),
        f"{prefix}_OPERATOR__HOST": "127.0.0.1",
        f"{prefix}_OPERATOR__PORT": str(record.port(name + _OPERATOR)),
    }


def _clock(prefix: str, record: StackRecord) -> dict[str, str]:
    """Always said, so that nothing in the shell that starts a stack shifts its clock."""
    return {f"{prefix}_CLOCK__OFFSET_S": str(record.spec.clock_offset_s)}


def _exchange(addresses: Addresses, tools: Tools) -> ProcessSpec:
    record, folder = addresses.record, addresses.folder
    environment = {
        **_listen("EXCHANGE", record, EXCHANGE),
        "EXCHANGE_DATA_DIR": str(folder.data(EXCHANGE)),
        "EXCHANGE_MARKET_HOURS": record.spec.market_hours,
        **_clock("EXCHANGE", record),
        "EXCHANGE_SEED": str(record.spec.exchange_seed),
        "EXCHANGE_KEYS_DIR": str(folder.keys),
    }
    return _ours(EXCHANGE, ProcessKind.EXCHANGE, (tools.python, "-m", "exchange", "serve"), environment, record)


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


def _router(addresses: Addresses, tools: Tools, name: str) -> ProcessSpec:
    record, folder = addresses.record, addresses.folder
    environment = {
        **_listen("ROUTER", record, name),
        "ROUTER_NAME": name,
        "ROUTER_CONTROL__DSN": addresses.dsn(CONTROL_POSTGRES, CONTROL.service),
        "ROUTER_CONTROL__CODE": release_code("shardctl").schema,
        "ROUTER_REDIS__URL": addresses.redis_url,
        "ROUTER_MAP_FILE": str(folder.maps / f"{name}.map"),
        "ROUTER_KEYS_DIR": str(folder.keys),
        **_clock("ROUTER", record),
        **(_ROUTER_LIMITS if record.spec.profile is Profile.LOCAL else {}),
    }
    return _ours(name, ProcessKind.ROUTER, (tools.python, "-m", "router", "serve"), environment, record)


def cell_environment(addresses: Addresses, cell: str) -> dict[str, str]:
    """The environment of every process of a cell; the listening ports come on top."""
    spec = addresses.record.spec
    return {
        "CELL_NAME": cell,
        "CELL_POSTGRES__DSN": addresses.dsn(postgres_name(cell), CELL.service),
        "CELL_KEYS_DIR": str(addresses.folder.keys),
        "CELL_KAFKA__BOOTSTRAP_SERVERS": addresses.kafka,
        "CELL_KAFKA__TOPIC_PREFIX": spec.topic_prefix,
        "CELL_EXCHANGE__ADDRESS": addresses.exchange,
        "CELL_MARKET_HOURS": spec.market_hours,
        **_clock("CELL", addresses.record),
        "CELL_NEW_USER_PROFILE": spec.risk_profile,
        "CELL_SHARE_TRANSFERS": spec.share_transfers,
        "CELL_REFERENCE_PRICE_AGE_MAX_S": str(spec.reference_price_age_max_s),
    }


def migration_job(addresses: Addresses, tools: Tools, cell: CellSpec) -> tuple[tuple[str, ...], dict[str, str]]:
    """Command and environment that bring a cell's database to the release's schema."""
    environment = {
        **cell_environment(addresses, cell.name),
        **_listen("CELL", addresses.record, api_names(cell)[0]),
        "CELL_POSTGRES__OWNER_DSN": addresses.dsn(postgres_name(cell.name), CELL.owner),
    }
    return (tools.python, "-m", "cell", "migrate"), environment


def _cell(addresses: Addresses, tools: Tools, cell: CellSpec) -> list[ProcessSpec]:
    record = addresses.record
    shared = cell_environment(addresses, cell.name)
    roles = [
        *((name, ProcessKind.API, "serve") for name in api_names(cell)),
        (f"{cell.name}-worker", ProcessKind.WORKER, "work"),
        (f"{cell.name}-relay", ProcessKind.RELAY, "relay"),
    ]
    return [
        _ours(
            name,
            kind,
            (tools.python, "-m", "cell", verb),
            {**shared, **_listen("CELL", record, name)},
            record,
            cell.name,
        )
        for name, kind, verb in roles
    ]


def _ours(
    name: str,
    kind: ProcessKind,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    record: StackRecord,
    cell: str | None = None,
) -> ProcessSpec:
    return ProcessSpec(
        name,
        kind,
        command,
        cell=cell,
        port=record.ports.get(name),
        operator_port=record.port(name + _OPERATOR),
        environment=environment,
    )
