"""Look at this machine and at a stack's files: binaries, folders, limits, modes of secrets. Judged in `judge.py`.

Reads only: changes nothing and downloads nothing. Each check stands alone: what is missing becomes a finding.
"""

import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import psutil

from infra.backends.backend import BackendError
from infra.backends.finding import Finding, bad, good, warning
from infra.backends.local import kafka_jars
from infra.backends.local.accounts import first_closed_folder, server_user
from infra.backends.local.commands import run_command
from infra.backends.local.folders import StackFolder
from infra.backends.local.java import locate_java
from infra.backends.local.judge import (
    OPEN_FILES_MIN,
    judge_disk,
    judge_folder,
    judge_memory,
    judge_open_files,
    judge_prometheus,
    judge_secrets,
)
from infra.backends.local.postgres import locate_binaries, server_version
from infra.backends.local.prometheus import locate_prometheus
from infra.backends.local.redis import locate_redis_server

_INCOMPLETE_INSTALL: Final = "`make install` was not run or not finished, or an exported path is wrong"


async def examine_machine(folder: StackFolder) -> AsyncIterator[Finding]:
    for finding in _machine(folder.root):
        yield finding
    for check in (_postgres, _redis, _java, _jars):
        yield await check()


def examine_stack(folder: StackFolder, *, is_running: bool, monitoring: bool) -> tuple[Finding, ...]:
    """Of a stack that exists. `monitoring`: a Prometheus was asked for."""
    watched = (judge_prometheus(locate_prometheus()),) if monitoring else ()
    if is_running:
        return (_secrets(folder), *watched, good("supervisor", "answers"))
    cause = "the stack is stopped, the machine was restarted, or supervisord was killed"
    return (_secrets(folder), *watched, bad("supervisor", "no supervisord answers", cause=cause, fix="shardctl up"))


def _machine(root: Path) -> list[Finding]:
    existing = _existing(root)
    user = server_user()
    return [
        good("python", ".".join(str(part) for part in sys.version_info[:3])),
        judge_disk(shutil.disk_usage(existing).free, existing),
        judge_memory(psutil.virtual_memory().available),
        judge_open_files(_open_files_limit()),
        judge_folder(
            root,
            writable=os.access(existing, os.W_OK),
            server_user=user.name if user else None,
            closed=first_closed_folder(root / "data", user) if user else None,
        ),
    ]


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _open_files_limit() -> int:
    """The soft limit; where the system does not tell one, as much as is needed."""
    if not hasattr(psutil, "RLIMIT_NOFILE"):
        return OPEN_FILES_MIN
    limit: int = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0]
    return limit


async def _postgres() -> Finding:
    try:
        return good("postgresql", await server_version(locate_binaries(server_user())))
    except BackendError as error:
        fix = "make clean install (or export POSTGRES_BIN=/usr/lib/postgresql/18/bin)"
        return bad("postgresql", str(error), cause=_INCOMPLETE_INSTALL, fix=fix)


async def _redis() -> Finding:
    try:
        result = await run_command([str(locate_redis_server()), "--version"])
    except BackendError as error:
        fix = "make clean install (or export REDIS_SERVER_BIN=/usr/bin/redis-server)"
        return bad("redis", str(error), cause=_INCOMPLETE_INSTALL, fix=fix)
    return good("redis", result.output.strip())


async def _java() -> Finding:
    try:
        java = await locate_java()
    except BackendError as error:
        fix = "make clean install (or export JAVA_HOME=/path/to/a/jdk-17-or-newer)"
        return bad("java", str(error), cause=_INCOMPLETE_INSTALL, fix=fix)
    return good("java", f"{java.version} at {java.executable}")


async def _jars() -> Finding:
    if os.environ.get("KAFKA_HOME"):
        return good("kafka jars", f"KAFKA_HOME={os.environ['KAFKA_HOME']}")
    lock_text = kafka_jars.LOCK_FILE.read_text("utf-8")
    folder, jars = kafka_jars.jars_folder(lock_text), kafka_jars.read_lock(lock_text)
    if not folder.exists():
        return warning("kafka jars", "not fetched yet", cause="no stack was started here yet", fix="shardctl up")
    try:
        kafka_jars.verify(jars, folder)
    except BackendError as error:
        cause = "a download was cut off, or a file was changed"
        return bad("kafka jars", str(error), cause=cause, fix=f"rm -r {folder} && shardctl up")
    return good("kafka jars", f"{len(jars)} as locked")


def _secrets(folder: StackFolder) -> Finding:
    present = [path for path in (folder.pgpass, *sorted(folder.keys.rglob("*.json"))) if path.exists()]
    open_ones = [path for path in present if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    return judge_secrets(folder.pgpass, present, open_ones)
