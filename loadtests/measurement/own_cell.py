"""One cell of a measurement's own: a PostgreSQL with the local stack's configuration, durable, migrated, and whichever
of the cell's processes are asked for. No router, no exchange, no Kafka: the machine is for what is measured.

The only file here that knows how a local server is made; it is made exactly as the stack makes it. Everything is gone
afterwards, also after a failure.
"""

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from infra.backends.local.accounts import ServerUser, give, server_user
from infra.backends.local.postgres import Cluster, locate_binaries, prepare_cluster, server_command
from infra.backends.local.probes import postgres_answers
from infra.backends.roles import CELL, SUPERUSER
from infra.security.keys import generate_key_files
from loadtests.measurement.own_processes import free_port
from loadtests.measurement.pgbench import Database, path_option
from loadtests.measurement.queries import newest_code

START_S_MAX = 60.0
"""Each server or process; `initdb` on a busy machine takes ten seconds."""
NAME = "cell-1"


class OwnCellFailed(Exception):
    """A server or a process of the cell did not start."""


@dataclass(frozen=True, slots=True)
class AppServer:
    customer_port: int
    operator_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.customer_port}"

    @property
    def operator_url(self) -> str:
        return f"http://127.0.0.1:{self.operator_port}"


@dataclass(frozen=True, slots=True)
class OwnCell:
    """Where it is. `database` is the service role's, for pgbench."""

    folder: Path
    service_dsn: str
    superuser_dsn: str
    owner_dsn: str
    database: Database
    server_pid: int

    def server_cpu_s(self) -> float:
        """Processor time that the server has used, its ended connections included: what load beside us cannot hide."""
        postmaster = psutil.Process(self.server_pid)
        ended = postmaster.cpu_times()
        used = ended.children_user + ended.children_system
        for child in postmaster.children():
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                used += times.user + times.system
        return float(used)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of the server's processes runs: another server is measured meanwhile."""
        self._suspend()
        try:
            yield
        finally:
            self._resume()

    @contextmanager
    def thawed(self) -> Iterator[None]:
        """A frozen server runs."""
        self._resume()
        try:
            yield
        finally:
            self._suspend()

    def _suspend(self) -> None:
        postmaster = psutil.Process(self.server_pid)
        postmaster.suspend()  # first, so that it starts no process meanwhile
        for child in postmaster.children():
            with suppress(psutil.NoSuchProcess):
                child.suspend()

    def _resume(self) -> None:
        postmaster = psutil.Process(self.server_pid)
        for process in (*postmaster.children(), postmaster):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    @asynccontextmanager
    async def process(self, role: str, **further: str) -> AsyncIterator[int]:
        """`python -m cell ROLE` with these further settings (`CELL_...`); its pid. Raises OwnCellFailed."""
        log = self.folder / f"{role}.log"
        with log.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cell", role,
                env={**os.environ, **self.settings(), **further}, stdout=sink, stderr=sink,
            )  # fmt: skip
        try:
            yield process.pid
            if process.returncode is not None:
                raise OwnCellFailed(f"cell {role} ended with {process.returncode}:\n{log.read_text()[-1500:]}")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    @asynccontextmanager
    async def app_server(self) -> AsyncIterator["AppServer"]:
        """An app server of the cell, listening on both ports. Raises OwnCellFailed."""
        server = AppServer(customer_port=free_port(), operator_port=free_port())
        ports = {"CELL_LISTEN__PORT": str(server.customer_port), "CELL_OPERATOR__PORT": str(server.operator_port)}
        async with self.process("serve", **ports) as _:
            deadline = time.monotonic() + START_S_MAX
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", server.customer_port)
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise OwnCellFailed("the app server does not listen") from error
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break
            yield server

    def settings(self) -> dict[str, str]:
        """What every process of the cell gets."""
        return {
            "CELL_NAME": NAME,
            "CELL_POSTGRES__DSN": self.service_dsn,
            "CELL_KEYS_DIR": str(self.folder / "keys"),
            "CELL_MARKET_HOURS": "always",
            "CELL_OPERATOR__PORT": str(free_port()),
        }


@asynccontextmanager
async def own_cell() -> AsyncIterator[OwnCell]:
    """A migrated cell without customers. Raises OwnCellFailed, BackendError."""
    user = server_user()
    folder = Path(tempfile.mkdtemp(prefix="cell-brokerage-bench-"))
    try:
        passwords = {role: secrets.token_hex(16) for role in (SUPERUSER, *CELL.all)}
        cluster = Cluster("bench", folder / "data", free_port(), CELL, passwords)
        pgpass = _prepare_folder(folder, cluster)
        binaries = locate_binaries(user)
        await prepare_cluster(cluster, binaries, user)
        async with _server(cluster, binaries, user, folder) as pid:
            cell = OwnCell(
                folder,
                service_dsn=cluster.dsn(CELL.service, pgpass),
                superuser_dsn=cluster.dsn(SUPERUSER, pgpass, CELL.database),
                owner_dsn=cluster.dsn(CELL.owner, pgpass),
                database=Database("127.0.0.1", str(cluster.port), pgpass),
                server_pid=pid,
            )
            await _migrate(cell)
            yield await _on_its_path(cell)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _on_its_path(cell: OwnCell) -> OwnCell:
    """Sessions call the code that `migrate` has installed."""
    code = await newest_code(cell.superuser_dsn)
    options = f"options={path_option(code).replace(' ', '%20').replace('=', '%3D')}"
    return replace(
        cell,
        service_dsn=f"{cell.service_dsn}&{options}",
        superuser_dsn=f"{cell.superuser_dsn}&{options}",
        database=replace(cell.database, code=code),
    )


def _prepare_folder(folder: Path, cluster: Cluster) -> Path:
    """Keys and passwords; the password file's path."""
    folder.chmod(0o711)  # the server runs as another user when we are root
    generate_key_files(folder / "keys")
    pgpass = folder / "pgpass"
    pgpass.touch(mode=0o600)
    pgpass.write_text("\n".join(cluster.pgpass_lines()) + "\n")
    return pgpass


async def _migrate(cell: OwnCell) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cell", "migrate",
        env={**os.environ, **cell.settings(), "CELL_POSTGRES__OWNER_DSN": cell.owner_dsn},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise OwnCellFailed(f"cell migrate ended with {process.returncode}:\n{out.decode()[-1500:]}")


@asynccontextmanager
async def _server(cluster: Cluster, binaries: Path, user: ServerUser | None, folder: Path) -> AsyncIterator[int]:
    log = folder / "postgres.log"
    log.touch()
    give(log, user)
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *server_command(binaries, cluster.data), stdout=sink, stderr=sink, cwd="/",
            user=user.uid if user else None, group=user.gid if user else None,
            extra_groups=[user.gid] if user else None,
        )  # fmt: skip
    try:
        async with asyncio.timeout(START_S_MAX):
            while not await postgres_answers(cluster.port):
                if process.returncode is not None:
                    raise OwnCellFailed(f"the server did not start:\n{log.read_text()[-1500:]}")
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGQUIT)  # the data is thrown away: no need to be gentle
        await process.wait()
