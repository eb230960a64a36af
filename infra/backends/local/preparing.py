"""What a stack's specification needs on disk before its processes can start: ports, secrets, data directories, tools.

Every function may be repeated and may follow a crash at any moment: what is there is left alone. Nothing is removed
here, and nothing runs afterwards. They raise BackendError for what a person has to mend: a folder that the servers'
user cannot enter, a tool that is missing.
"""

import asyncio
import dataclasses
from pathlib import Path

from infra.backends.addresses import KAFKA, PROMETHEUS, REDIS
from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.cell_spec import StackSpec, postgres_name
from infra.backends.local import kafka, postgres, prometheus
from infra.backends.local.accounts import ServerUser, first_closed_folder
from infra.backends.local.folders import StackFolder, cache_root
from infra.backends.local.java import Java, locate_java
from infra.backends.local.kafka_jars import locate_jars
from infra.backends.local.ports import is_free, port_registry, port_registry_path
from infra.backends.local.processes import EXCHANGE_DATA, Tools, kafka_properties, make_clusters
from infra.backends.local.record import StackRecord, load_json, load_record, new_record, save_record
from infra.backends.local.redis import locate_redis_server
from infra.backends.local.restoring import finish_restore, pending_incarnation
from infra.backends.local.stand_in import PORT_NAMES
from infra.backends.plan import port_names, roles_by_server
from infra.backends.replaced_file import replace_file


def read_record(folder: StackFolder, stack: str) -> StackRecord:
    """Raises BackendError if there is no stack there."""
    record = load_record(folder.record)
    if record is None:
        raise BackendError(f"there is no stack {stack}: start one with `shardctl up`")
    return record


def read_clusters(record: StackRecord, folder: StackFolder) -> dict[str, postgres.Cluster]:
    """The database servers by name, with the passwords that were made."""
    return make_clusters(record, folder, load_json(folder.passwords) or {})


def refuse_unreachable(folder: StackFolder, user: ServerUser | None) -> None:
    """PostgreSQL never runs as root; the user who runs it then must reach its data. Raises BackendError."""
    closed = first_closed_folder(folder.root / "data", user) if user else None
    if user is not None and closed is not None:
        raise BackendError(
            f"the user {user.name}, who runs PostgreSQL because we are root, cannot enter {closed}: "
            f"run `chmod o+x {closed}`, or set SHARDCTL_STATE_DIR to another folder"
        )


def with_restored(spec: StackSpec, folder: StackFolder) -> StackSpec:
    """Also those restores count that a crash kept from being put in their place."""
    pending = {cell.name: pending_incarnation(folder, postgres_name(cell.name)) for cell in spec.cells}
    decided = {cell: incarnation for cell, incarnation in pending.items() if incarnation is not None}
    return dataclasses.replace(spec, incarnations={**spec.incarnations, **decided})


def save_with_ports(spec: StackSpec, stack: str, folder: StackFolder, *, running: bool) -> None:
    """Raises BackendError."""
    with port_registry(port_registry_path()) as registry:
        record = load_record(folder.record) or new_record(stack, spec)
        # A running stack's ports are busy because it uses them; a stopped one's may have been taken by a stranger.
        held = {name: port for name, port in record.ports.items() if running or is_free(port)}
        ports = registry.claim(folder.root, (*port_names(spec), *PORT_NAMES), held)
        save_record(folder.record, record.with_spec(spec).with_ports(ports))


def finish_restores(record: StackRecord, folder: StackFolder, report: Report) -> StackRecord:
    """Put what was restored in its place; the record as it is then. Raises BackendError."""
    for server in roles_by_server(record.spec):
        if (kept := finish_restore(folder, server)) is not None:
            # The archive is that of the server which is gone.
            record = record.with_archive(server, None)
            save_record(folder.record, record)
            report(Step(server, Phase.PREPARE, f"restored; the old data is kept in {kept}"))
    return record


def write_secrets(record: StackRecord, folder: StackFolder) -> None:
    """Passwords of the databases' roles, and the file in which clients look them up."""
    passwords = postgres.load_or_make_passwords(folder.passwords, roles_by_server(record.spec))
    clusters = make_clusters(record, folder, passwords).values()
    lines = [line for cluster in clusters for line in cluster.pgpass_lines()]
    replace_file(folder.pgpass, ("\n".join(lines) + "\n").encode(), mode=0o600)


async def prepare_servers(record: StackRecord, folder: StackFolder, report: Report, user: ServerUser | None) -> Tools:
    """Data directories of the servers that others wrote, made at once; the programs that run them. Raises
    BackendError."""
    spec = record.spec
    binaries = postgres.locate_binaries(user)
    for name in (REDIS, EXCHANGE_DATA):
        folder.data(name).mkdir(mode=0o700, parents=True, exist_ok=True)

    async def prepare_postgres(cluster: postgres.Cluster) -> None:
        if await postgres.prepare_cluster(cluster, binaries, user):
            report(Step(cluster.name, Phase.PREPARE, "new data directory"))

    clusters = read_clusters(record, folder).values()
    kafka_tools, *_ = await asyncio.gather(_prepare_kafka(record, folder, report), *map(prepare_postgres, clusters))
    java, class_path = kafka_tools or (None, "")
    server = locate_redis_server() if spec.redis_url is None else None
    return Tools(binaries, server, java, class_path, cache_root(), _locate_prometheus(spec, report))


async def _prepare_kafka(record: StackRecord, folder: StackFolder, report: Report) -> tuple[Java, str] | None:
    if record.spec.kafka_bootstrap_servers is not None:
        return None
    class_path = await locate_jars(report)
    java = await locate_java()
    await kafka.prepare_storage(
        java=java,
        class_path=class_path,
        properties=folder.run / "kafka.properties",
        text=kafka_properties(record, folder),
        data=folder.data(KAFKA),
        cluster_id=record.kafka_cluster_id,
    )
    return java, class_path


def _locate_prometheus(spec: StackSpec, report: Report) -> Path | None:
    program = prometheus.locate_prometheus() if spec.monitoring else None
    if spec.monitoring and program is None:
        report(Step(PROMETHEUS, Phase.PREPARE, f"not on this machine: {prometheus.INSTALL}"))
    return program
