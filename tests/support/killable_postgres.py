"""A PostgreSQL server from the local backend's own binaries, on data of its own that is thrown away at the end.

A test may kill it (`kill -9`, all its processes) and start it again on that data.
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

import psutil

from infra.backends.local.accounts import ServerUser, server_user
from infra.backends.local.postgres import (
    Cluster,
    load_or_make_passwords,
    locate_binaries,
    prepare_cluster,
    server_command,
)
from infra.backends.local.probes import postgres_answers
from infra.backends.roles import CELL, SUPERUSER
from tests.support.free_port import free_port
from tests.support.memory import memory_folder

_START_LIMIT_S = 30.0
_SETTINGS = (
    *("-c", "fsync=off"),
    *("-c", "max_connections=120"),
    # In memory it counts; a checkpoint more often costs nothing without fsync.
    *("-c", "max_wal_size=256MB"),
    # Creating and dropping a database waits for every connection that is being made, also for one that a test has
    # left half-made on a loop which stands still meanwhile: then this long, and not the minute that is the default.
    *("-c", "authentication_timeout=5s"),
)


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


class KillablePostgres:
    """fsync is off: what a process has written survives its death, if not the machine's."""

    def __init__(self, cluster: Cluster, binaries: Path, user: ServerUser | None, log: Path) -> None:
        self._cluster = cluster
        self._binaries = binaries
        self._user = user
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0
        self.server = PostgresServer("127.0.0.1", cluster.port, SUPERUSER, cluster.passwords[SUPERUSER])

    def start(self) -> None:
        (self._cluster.data / "postmaster.pid").unlink(missing_ok=True)
        user = self._user
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                [*server_command(self._binaries, self._cluster.data), *_SETTINGS],
                stdout=sink,
                stderr=sink,
                cwd="/",
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[user.gid] if user else None,
            )
        _await_answer(self._cluster.port, self._process, self._log)

    def kill(self) -> None:
        """All at once, so that no backend finishes what it was at."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            process.suspend()
        for process in family:
            os.kill(process.pid, signal.SIGKILL)
        self._process.wait(20)
        psutil.wait_procs(family[1:], timeout=20)
        self.kills += 1

    def end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # the data is thrown away: no need to be gentle
            self._process.wait(timeout=20)

    def kill_and_start(self) -> None:
        self.kill()
        self.start()


@contextmanager
def killable_postgres() -> Iterator[KillablePostgres]:
    user = server_user()
    # Not pytest's own folder: that one is closed to the user who runs PostgreSQL when we are root.
    folder = Path(tempfile.mkdtemp(prefix="cell-brokerage-test-", dir=memory_folder()))
    folder.chmod(0o711)
    try:
        passwords = load_or_make_passwords(folder / "passwords.json", {"test": CELL})["test"]
        cluster = Cluster("test", folder / "data", free_port(), CELL, passwords)
        binaries = locate_binaries(user)
        asyncio.run(prepare_cluster(cluster, binaries, user))
        postgres = KillablePostgres(cluster, binaries, user, folder / "postgres.log")
        try:
            postgres.start()
            yield postgres
        finally:
            postgres.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await_answer(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while not asyncio.run(postgres_answers(port)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the test server did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)
