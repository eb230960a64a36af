"""Real servers for tests: one PostgreSQL and one Kafka broker, through the local backend's own parts.

Started at most once per test session and ended with it. A broker that somebody else runs (`KAFKA_BOOTSTRAP_SERVERS`) is
used where a test does not have to kill it.
"""

import asyncio
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from infra.backends.local import kafka
from infra.backends.local.accounts import server_user
from infra.backends.local.backend import quiet
from infra.backends.local.folders import cache_root
from infra.backends.local.java import Java, locate_java
from infra.backends.local.kafka_jars import locate_jars
from infra.backends.local.postgres import (
    CELL,
    SUPERUSER,
    Cluster,
    locate_binaries,
    prepare_cluster,
    server_command,
)
from infra.runtime.kafka_admin import broker_topics

START_LIMIT_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that an unprivileged server may enter even when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="cell-brokerage-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class PostgresServer:
    """A running server with the roles of a cell."""

    cluster: Cluster

    def dsn(self, role: str, database: str) -> str:
        return self.cluster.dsn_with_password(role, database)

    def superuser_dsn(self, database: str = "postgres") -> str:
        return self.dsn(SUPERUSER, database)


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    user = server_user()
    passwords = {role: secrets.token_hex(8) for role in (SUPERUSER, *CELL.all)}
    with open_folder() as folder:
        cluster = Cluster("test-postgres", folder / "data", free_port(), CELL, passwords)
        binaries = locate_binaries(user)
        asyncio.run(prepare_cluster(cluster, binaries, user))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                server_command(binaries, cluster.data),
                stdout=log,
                stderr=log,
                cwd="/",
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )
            server = PostgresServer(cluster)
            try:
                _await_postgres(server, process)
                yield server
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(START_LIMIT_S)


def _await_postgres(server: PostgresServer, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + START_LIMIT_S
    while True:
        try:
            psycopg.connect(server.superuser_dsn(), connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > ends_at:
                raise
            time.sleep(0.05)


class KafkaBroker:
    """A broker that a test may kill and start again on the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._command: tuple[str, ...] = ()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    def prepare(self) -> None:
        java, class_path = asyncio.run(_kafka_tools())
        properties, data = self._folder / "server.properties", self._folder / "data"
        text = kafka.render_properties(port=self._port, controller_port=free_port(), data=data)
        asyncio.run(
            kafka.prepare_storage(
                java=java,
                class_path=class_path,
                properties=properties,
                text=text,
                data=data,
                cluster_id="dGVzdC1jbHVzdGVyLTAwMQ",
            )
        )
        self._command = kafka.broker_command(java, class_path, cache_root(), properties)

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder)

    def await_ready(self) -> None:
        asyncio.run(broker_topics(self.bootstrap_servers, START_LIMIT_S))

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_LIMIT_S)
            self._process = None


async def _kafka_tools() -> tuple[Java, str]:
    return await locate_java(), await locate_jars(quiet)


@contextmanager
def run_kafka() -> Iterator[KafkaBroker]:
    with open_folder() as folder:
        broker = KafkaBroker(folder)
        broker.prepare()
        broker.start()
        try:
            broker.await_ready()
            yield broker
        finally:
            broker.end(signal.SIGKILL)
