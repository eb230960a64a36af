"""Examine machine and stack; every finding names the command that mends it. Looks only: changes and fetches nothing."""

import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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
from shardctl.output import format_duration
from shardctl.reconciliation.run import list_reconciliations
from shardctl.shardmap.errors import ShardMapRefused
from shardctl.shardmap.store import open_store
from shardctl.stack.current import control_dsn, stack_clock

_DISK_FREE_MIN_BYTES = 2 * 1024**3
"""PostgreSQL and Kafka stop when their disk is full; a new stack takes about a quarter of this."""
_MEMORY_FREE_MIN_BYTES = 1024**3
"""A further small stack needs about as much; with less the kernel may kill a database."""
_OPEN_FILES_MIN = 1024
"""A router holds two sockets per request that it forwards."""
_BROKER_ANSWER_S = 3.0
"""How long a broker may take to name its topics; a healthy one takes milliseconds."""
_RECONCILED_AGE_MAX_S = 26 * 3600
"""It runs every night; two hours more for a night when it starts late or takes long."""


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: Verdict
    detail: str
    fix: str = ""


def good(check: str, detail: str) -> Finding:
    return Finding(check, Verdict.GOOD, detail)


def bad(check: str, detail: str, fix: str) -> Finding:
    return Finding(check, Verdict.BAD, detail, fix)


async def examine(backend: LocalBackend, *, ledger: bool) -> AsyncIterator[Finding]:
    """Findings as they are made: the machine first, then the stack, last (if asked) the cells' books."""
    for finding in _machine(backend):
        yield finding
    for check in (_postgres, _redis, _java, _jars):
        yield await check()
    if not backend.exists():
        yield bad("stack", f"there is no stack {backend.stack}", "shardctl up")
        return
    for finding in _secrets(backend):
        yield finding
    if not await backend.is_running():
        yield bad("supervisor", "no supervisord answers", "shardctl up")
        return
    yield good("supervisor", "answers")
    yield _clock(backend)
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


def _clock(backend: LocalBackend) -> Finding:
    """Never wrong, but everyone who reads times of this stack must know its offset."""
    offset_s = backend.record().spec.clock_offset_s
    detail = f"{offset_s:+.0f} s beside the machine's" if offset_s else "the machine's"
    return good("clock", detail)


# ---- machine -----------------------------------------------------------------------------------------------------


def _machine(backend: LocalBackend) -> list[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    findings = [good("python", version)]
    findings.append(_disk(_existing(backend.folder.root)))
    free = psutil.virtual_memory().available
    detail = f"{free / 1024**3:.1f} GB available"
    if free < _MEMORY_FREE_MIN_BYTES:
        findings.append(Finding("memory", Verdict.WARNING, detail, "shardctl down in checkouts that you do not use"))
    else:
        findings.append(good("memory", detail))
    findings.append(_open_files())
    findings.append(_folder(backend))
    return findings


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GB free at {folder}"
    if free < _DISK_FREE_MIN_BYTES:
        return bad("disk", detail, "free some space, or set SHARDCTL_STATE_DIR to another disk")
    return good("disk", detail)


def _open_files() -> Finding:
    limit, _ = (
        psutil.Process().rlimit(psutil.RLIMIT_NOFILE) if hasattr(psutil, "RLIMIT_NOFILE") else (_OPEN_FILES_MIN, 0)
    )
    if 0 <= limit < _OPEN_FILES_MIN:
        return bad("open files", f"the limit is {limit}", f"ulimit -n {_OPEN_FILES_MIN}")
    return good("open files", f"limit {limit}")


def _folder(backend: LocalBackend) -> Finding:
    folder = backend.folder.root
    user = server_user()
    closed = first_closed_folder(folder / "data", user) if user else None
    if closed is not None and user is not None:
        return bad("state folder", f"{user.name}, who runs PostgreSQL, cannot enter {closed}", f"chmod o+x {closed}")
    if not os.access(_existing(folder), os.W_OK):
        return bad("state folder", f"{folder} cannot be written", "export SHARDCTL_STATE_DIR=$HOME/.cell-brokerage")
    return good("state folder", str(folder))


async def _postgres() -> Finding:
    try:
        return good("postgresql", await server_version(locate_binaries(server_user())))
    except BackendError as error:
        return bad("postgresql", str(error), "make clean install (or export POSTGRES_BIN=/usr/lib/postgresql/18/bin)")


async def _redis() -> Finding:
    try:
        result = await run_command([str(locate_redis_server()), "--version"])
    except BackendError as error:
        return bad("redis", str(error), "make clean install (or export REDIS_SERVER_BIN=/usr/bin/redis-server)")
    return good("redis", result.output.strip())


async def _java() -> Finding:
    try:
        java = await locate_java()
    except BackendError as error:
        return bad("java", str(error), "make clean install (or export JAVA_HOME=/path/to/a/jdk-17-or-newer)")
    return good("java", f"{java.version} at {java.executable}")


async def _jars() -> Finding:
    if os.environ.get("KAFKA_HOME"):
        return good("kafka jars", f"KAFKA_HOME={os.environ['KAFKA_HOME']}")
    lock_text = kafka_jars.LOCK_FILE.read_text("utf-8")
    folder, jars = kafka_jars.jars_folder(lock_text), kafka_jars.read_lock(lock_text)
    if not folder.exists():
        return Finding("kafka jars", Verdict.WARNING, "not fetched yet", "shardctl up fetches them once")
    try:
        kafka_jars.verify(jars, folder)
    except BackendError as error:
        return bad("kafka jars", str(error), f"rm -r {folder} && shardctl up")
    return good("kafka jars", f"{len(jars)} as locked")


# ---- stack -------------------------------------------------------------------------------------------------------


def _secrets(backend: LocalBackend) -> list[Finding]:
    folder = backend.folder
    paths = [folder.pgpass, *sorted(folder.keys.glob("*.json"))]
    open_ones = [path for path in paths if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if not folder.pgpass.exists():
        return [bad("secrets", f"{folder.pgpass} is missing", "shardctl up")]
    if open_ones:
        names = " ".join(str(path) for path in open_ones)
        return [bad("secrets", "readable for others", f"chmod 600 {names}")]
    return [good("secrets", f"{len(paths)} files, readable for their owner only")]


async def _processes(backend: LocalBackend) -> list[Finding]:
    planned = {process.name: process for process in await backend.plan()}
    findings = []
    for row in await backend.status():
        process = planned.get(row.name)
        if process is None:
            continue
        if row.state != "running":
            findings.append(
                bad(row.name, f"{row.state} {row.detail}".strip(), f"shardctl logs {row.name}; shardctl up")
            )
        elif not await is_ready(process):
            findings.append(bad(row.name, "runs, but does not answer as ready", f"shardctl logs {row.name}"))
        else:
            findings.append(good(row.name, "ready"))
    return findings


async def _topics(backend: LocalBackend) -> Finding:
    addresses = backend.addresses()
    spec = addresses.record.spec
    wanted = topics(tuple(cell.name for cell in spec.cells), spec.topic_prefix)
    try:
        present = await broker_topics(addresses.kafka, _BROKER_ANSWER_S)
    except BrokerUnreachable as error:
        return bad("topics", f"the broker does not answer: {error}", "shardctl logs kafka")
    missing = [name for name in wanted if name not in present]
    if missing:
        return bad("topics", f"missing: {', '.join(missing)}", "shardctl up")
    return good("topics", f"{len(wanted)} present")


async def _map(backend: LocalBackend) -> list[Finding]:
    addresses = backend.addresses()
    try:
        rows = {row.cell: row for row in await list_cells(backend)}
    except (ShardMapRefused, ShardctlError) as error:
        return [bad("shard map", str(error), "shardctl logs control-postgres; shardctl up")]
    findings = []
    for cell in addresses.record.spec.cells:
        row = rows.get(cell.name)
        if row is None:
            findings.append(bad("shard map", f"{cell.name} is not in the map", "shardctl up"))
        elif (row.api_urls, row.operator_urls) != (addresses.api_urls(cell), addresses.operator_urls(cell)):
            findings.append(bad("shard map", f"{cell.name} has other addresses than its processes", "shardctl up"))
    return findings or [good("shard map", f"{len(rows)} cells, at the addresses where they listen")]


async def _published_map(backend: LocalBackend) -> Finding:
    """Routers that start ask Redis first; without it they ask the control database, so an absent map is no fault."""
    client = make_redis(RedisSettings(url=backend.addresses().redis_url))
    try:
        published = await RedisMapSource(client).read()
        async with open_store(control_dsn(backend)) as store:
            truth = await store.load()
    except (MapUnavailable, MapInvalid, ShardMapRefused, ShardctlError) as error:
        return bad("published map", str(error), "shardctl logs redis; shardctl up")
    finally:
        await client.aclose()
    if published is None:
        return Finding(
            "published map", Verdict.WARNING, "Redis holds none (it keeps nothing on disk)", "shardctl map publish"
        )
    if (published.lineage, published.epoch) != (truth.lineage, truth.epoch):
        return bad("published map", f"epoch {published.epoch} in Redis, {truth.epoch} in truth", "shardctl map publish")
    return good("published map", f"epoch {published.epoch}")


async def _reconciliation(backend: LocalBackend, cell: str) -> Finding:
    """Whether the cell was reconciled lately, and with what verdict."""
    check, again = f"reconciliation of {cell}", f"shardctl cells reconcile {cell}"
    try:
        runs = await list_reconciliations(backend, cell, 1)
    except ShardctlError as error:
        return bad(check, str(error), f"shardctl logs {cell}-api-1")
    if not runs:
        return Finding(check, Verdict.WARNING, "was never run", again)
    run = runs[0]
    age_s = (stack_clock(backend).now() - datetime.fromisoformat(run["ended_at"])).total_seconds()
    outcome = f"{run['verdict']} {format_duration(age_s)} ago"
    if run["verdict"] == "different":
        return bad(check, f"{outcome}: {', '.join(run['found'])}", f"shardctl cells reconciliations {cell} -n 1 --json")
    if age_s > _RECONCILED_AGE_MAX_S or run["verdict"] != "equal":
        return Finding(check, Verdict.WARNING, outcome, again)
    return good(check, outcome)


async def _ledgers(backend: LocalBackend) -> list[Finding]:
    findings = []
    async with open_cell_admin(backend) as admin:
        for cell in backend.record().spec.cells:
            name = f"ledger of {cell.name}"
            try:
                found = await admin.checks(cell.name)
            except ShardctlError as error:
                findings.append(bad(name, str(error), f"shardctl logs {cell.name}-api-1"))
                continue
            broken = [item["name"] for item in found["checks"] if item["violations"]]
            if broken:
                findings.append(bad(name, f"violated: {', '.join(broken)}", f"shardctl cells check {cell.name} --json"))
            else:
                findings.append(good(name, f"{len(found['checks'])} checks are green"))
    return findings
