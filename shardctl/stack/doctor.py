"""Examine machine and stack: read the facts here, judge them in `findings.py`.

Reads only: changes nothing and downloads nothing. Every check stands alone: a part that does not answer becomes a
finding of its own and never ends the examination.
"""

import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from infra.backends.backend import BackendError
from infra.backends.local import kafka_jars
from infra.backends.local.accounts import first_closed_folder, server_user
from infra.backends.local.backend import LocalBackend
from infra.backends.local.commands import run_command
from infra.backends.local.java import locate_java
from infra.backends.local.kafka import topics
from infra.backends.local.postgres import locate_binaries, server_version
from infra.backends.local.readiness import is_ready
from infra.backends.local.redis import locate_redis_server
from infra.runtime.kafka_admin import BrokerUnreachable, broker_topics
from infra.runtime.map_source import MapUnavailable, RedisMapSource
from infra.runtime.redis_client import make_redis
from infra.runtime.settings import RedisSettings
from infra.topology.errors import MapInvalid
from shardctl.cell_admin import open_cell_admin
from shardctl.cells.directory import list_cells
from shardctl.errors import ShardctlError
from shardctl.reconciliation.run import list_reconciliations
from shardctl.shardmap.errors import ShardMapRefused
from shardctl.shardmap.store import open_store
from shardctl.stack.current import control_dsn, stack_clock
from shardctl.stack.findings import (
    OPEN_FILES_MIN,
    Finding,
    bad,
    good,
    judge_clock,
    judge_disk,
    judge_folder,
    judge_ledger,
    judge_map,
    judge_memory,
    judge_open_files,
    judge_process,
    judge_published_map,
    judge_reconciliation,
    judge_secrets,
    judge_topics,
    warning,
)

_BROKER_ANSWER_S = 3.0
"""How long a broker may take to name its topics; a healthy one takes milliseconds."""
_INCOMPLETE_INSTALL = "`make install` was not run or not finished, or an exported path is wrong"


async def examine(backend: LocalBackend, *, ledger: bool) -> AsyncIterator[Finding]:
    """Findings as they are made: the machine, then the stack, then (if `ledger`) every cell's books.

    Without a stack, or without its supervisor, what follows could only repeat that, so the examination ends there.
    """
    for finding in _machine(backend):
        yield finding
    for check in (_postgres, _redis, _java, _jars):
        yield await check()
    if not backend.exists():
        cause = "it was never started, --stack names another one, or it was removed by `down --delete-data`"
        yield bad("stack", f"there is no stack {backend.stack}", cause=cause, fix="shardctl up")
        return
    yield _secrets(backend)
    if not await backend.is_running():
        cause = "the stack is stopped, the machine was restarted, or supervisord was killed"
        yield bad("supervisor", "no supervisord answers", cause=cause, fix="shardctl up")
        return
    yield good("supervisor", "answers")
    yield judge_clock(backend.record().spec.clock_offset_s)
    for finding in [
        *await _processes(backend),
        await _topics(backend),
        *await _map(backend),
        await _published_map(backend),
        *[await _reconciliation(backend, cell.name) for cell in backend.record().spec.cells],
    ]:
        yield finding
    if ledger:
        for finding in await _ledgers(backend):
            yield finding


# ---- machine -----------------------------------------------------------------------------------------------------


def _machine(backend: LocalBackend) -> list[Finding]:
    root = backend.folder.root
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


# ---- stack -------------------------------------------------------------------------------------------------------


def _secrets(backend: LocalBackend) -> Finding:
    folder = backend.folder
    present = [path for path in (folder.pgpass, *sorted(folder.keys.glob("*.json"))) if path.exists()]
    open_ones = [path for path in present if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    return judge_secrets(folder.pgpass, present, open_ones)


async def _processes(backend: LocalBackend) -> list[Finding]:
    planned = {process.name: process for process in await backend.plan()}
    findings = []
    for row in await backend.status():
        process = planned.get(row.name)
        if process is not None:
            ready = row.state == "running" and await is_ready(process)
            findings.append(judge_process(row.name, row.state, row.detail, ready=ready))
    return findings


async def _topics(backend: LocalBackend) -> Finding:
    addresses = backend.addresses()
    spec = addresses.record.spec
    wanted = topics(tuple(cell.name for cell in spec.cells), spec.topic_prefix)
    try:
        present = await broker_topics(addresses.kafka, _BROKER_ANSWER_S)
    except BrokerUnreachable as error:
        cause = "the broker is starting, or ended; events wait in the cells' outboxes meanwhile"
        return bad("topics", f"the broker does not answer: {error}", cause=cause, fix="shardctl logs kafka")
    return judge_topics(wanted, present)


async def _map(backend: LocalBackend) -> list[Finding]:
    addresses = backend.addresses()
    try:
        rows = {row.cell: row for row in await list_cells(backend)}
    except (ShardMapRefused, ShardctlError) as error:
        cause = "the control database does not answer, or `shardctl up` did not finish; routers keep the map they have"
        return [bad("shard map", str(error), cause=cause, fix="shardctl logs control-postgres; shardctl up")]
    listening = {
        cell.name: (addresses.api_urls(cell), addresses.operator_urls(cell)) for cell in addresses.record.spec.cells
    }
    return judge_map(listening, rows)


async def _published_map(backend: LocalBackend) -> Finding:
    client = make_redis(RedisSettings(url=backend.addresses().redis_url))
    try:
        published = await RedisMapSource(client).read()
        async with open_store(control_dsn(backend)) as store:
            truth = await store.load()
    except (MapUnavailable, MapInvalid, ShardMapRefused, ShardctlError) as error:
        cause = "Redis or the control database does not answer, or what Redis holds is damaged"
        return bad("published map", str(error), cause=cause, fix="shardctl logs redis; shardctl up")
    finally:
        await client.aclose()
    return judge_published_map(
        None if published is None else (published.lineage, published.epoch), (truth.lineage, truth.epoch)
    )


async def _reconciliation(backend: LocalBackend, cell: str) -> Finding:
    try:
        runs = await list_reconciliations(backend, cell, 1)
    except ShardctlError as error:
        return _silent_cell(f"reconciliation of {cell}", cell, error)
    return judge_reconciliation(cell, runs[0] if runs else None, stack_clock(backend).now())


async def _ledgers(backend: LocalBackend) -> list[Finding]:
    findings = []
    async with open_cell_admin(backend) as admin:
        for cell in backend.record().spec.cells:
            try:
                found = await admin.checks(cell.name)
            except ShardctlError as error:
                findings.append(_silent_cell(f"ledger of {cell.name}", cell.name, error))
            else:
                findings.append(judge_ledger(cell.name, found["checks"]))
    return findings


def _silent_cell(check: str, cell: str, error: ShardctlError) -> Finding:
    cause = "the cell's app servers do not run, or its database does not answer them"
    return bad(check, str(error), cause=cause, fix=f"shardctl logs {cell}-api-1")
