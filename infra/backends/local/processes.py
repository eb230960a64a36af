"""The processes of a local stack: others' servers, with their commands on this machine, then ours. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.backends.addresses import KAFKA, PROMETHEUS, REDIS, Addresses, Endpoint
from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.local import kafka, postgres, redis
from infra.backends.local.archive import archive_command, archive_process_name
from infra.backends.local.folders import StackFolder
from infra.backends.local.java import Java
from infra.backends.local.postgres import Cluster
from infra.backends.local.prometheus import plan_prometheus
from infra.backends.local.record import StackRecord
from infra.backends.plan import CONTROLLER, HostLayout, plan_services, roles_by_server
from infra.backends.roles import CELL

EXCHANGE_DATA = "exchange"


@dataclass(frozen=True, slots=True)
class Tools:
    """Binaries of this machine; Redis and Kafka are absent where somebody else runs them, Prometheus where nobody
    wants it or the machine has none."""

    postgres_bin: Path
    redis_server: Path | None = None
    java: Java | None = None
    kafka_class_path: str = ""
    cache: Path = Path()
    prometheus: Path | None = None


def make_clusters(
    record: StackRecord, folder: StackFolder, passwords: Mapping[str, Mapping[str, str]]
) -> dict[str, Cluster]:
    return {
        name: Cluster(name, folder.data(name), record.port(name), roles, passwords.get(name, {}))
        for name, roles in roles_by_server(record.spec).items()
    }


def make_addresses(record: StackRecord, folder: StackFolder) -> Addresses:
    """Everything listens on the loopback; a DSN names the passfile."""
    dsns = {
        name: {role: cluster.dsn(role, folder.pgpass) for role in cluster.roles.all}
        for name, cluster in make_clusters(record, folder, {}).items()
    }
    return Addresses(record.spec, {name: Endpoint(postgres.HOST, port) for name, port in record.ports.items()}, dsns)


def make_layout(folder: StackFolder) -> HostLayout:
    stack = {
        "SHARDCTL_BACKEND": "local",
        "SHARDCTL_STACK": folder.root.name,
        "SHARDCTL_STATE_DIR": str(folder.root.parent),
    }
    return HostLayout(
        folder.keys, folder.maps, folder.data(EXCHANGE_DATA), folder.control_socket, stack, listen_host=postgres.HOST
    )


def plan_processes(
    record: StackRecord, folder: StackFolder, tools: Tools, server_user: str | None
) -> tuple[ProcessSpec, ...]:
    """Every process of the stack, servers first."""
    planned = [_postgres(cluster, tools, server_user) for cluster in make_clusters(record, folder, {}).values()]
    if tools.redis_server is not None:
        command = redis.server_command(tools.redis_server, record.port(REDIS), folder.data(REDIS))
        planned.append(ProcessSpec(REDIS, ProcessKind.REDIS, command, port=record.port(REDIS)))
    if tools.java is not None:
        planned.append(_kafka(record, folder, tools, tools.java))
    planned += [_archive(record, folder, tools, server, name) for server, name in sorted(record.archived.items())]
    if tools.prometheus is not None:
        planned.append(plan_prometheus(PROMETHEUS, tools.prometheus, record.port(PROMETHEUS), folder))
    return (*planned, *plan_services(make_addresses(record, folder), make_layout(folder)))


def _postgres(cluster: Cluster, tools: Tools, server_user: str | None) -> ProcessSpec:
    return ProcessSpec(
        cluster.name,
        ProcessKind.POSTGRES,
        postgres.server_command(tools.postgres_bin, cluster.data),
        cell=cluster.name.removesuffix("-postgres") if cluster.roles is CELL else None,
        port=cluster.port,
        user=server_user,
        stop_signal="INT",  # fast shutdown: sessions end, nothing is recovered at the next start
        stop_wait_s=30,  # for the checkpoint
    )


def _archive(record: StackRecord, folder: StackFolder, tools: Tools, server: str, archive: str) -> ProcessSpec:
    """Runs as who runs the stack: what it writes, the server cannot delete."""
    cluster = make_clusters(record, folder, {})[server]
    command = archive_command(
        tools.postgres_bin,
        folder.archive(server, archive),
        cluster.dsn(cluster.roles.archiver, folder.pgpass),
        archive,
    )
    cell = server.removesuffix("-postgres") if cluster.roles is CELL else None
    return ProcessSpec(archive_process_name(server), ProcessKind.ARCHIVE, command, cell=cell, stop_signal="INT")


def _kafka(record: StackRecord, folder: StackFolder, tools: Tools, java: Java) -> ProcessSpec:
    command = kafka.broker_command(java, tools.kafka_class_path, tools.cache, folder.run / "kafka.properties")
    return ProcessSpec(KAFKA, ProcessKind.KAFKA, command, port=record.port(KAFKA))


def kafka_properties(record: StackRecord, folder: StackFolder) -> str:
    return kafka.render_properties(
        port=record.port(KAFKA), controller_port=record.port(KAFKA + CONTROLLER), data=folder.data(KAFKA)
    )
