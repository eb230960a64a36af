"""Examine machine and stack: the back end looks at its own, the facts of the stack are read here and judged in
`findings.py`.

Reads only: changes nothing and downloads nothing. Every check stands alone: a part that does not answer becomes a
finding of its own and never ends the examination.
"""

from collections.abc import AsyncIterator

from infra.backends.backend import Backend
from infra.backends.finding import Finding, Verdict, bad
from infra.backends.topics import stack_topics
from infra.runtime.kafka_admin import BrokerUnreachable, broker_topics
from infra.runtime.map_source import MapUnavailable
from infra.runtime.redis_client import make_redis
from infra.runtime.redis_map_source import RedisMapSource
from infra.runtime.settings import RedisSettings
from infra.topology.errors import MapInvalid
from shardctl.cell_admin import open_cell_admin
from shardctl.cells.directory import list_cells
from shardctl.errors import ShardctlError
from shardctl.reconciliation.kept import list_reconciliations
from shardctl.shardmap.errors import ShardMapRefused
from shardctl.shardmap.store import open_store
from shardctl.stack.current import control_dsn, stack_clock
from shardctl.stack.findings import (
    judge_clock,
    judge_ledger,
    judge_map,
    judge_process,
    judge_published_map,
    judge_reconciliation,
    judge_settings,
    judge_topics,
)

_BROKER_ANSWER_S = 3.0
"""How long a broker may take to name its topics; a healthy one takes milliseconds."""


async def examine(backend: Backend, *, ledger: bool) -> AsyncIterator[Finding]:
    """Findings as they are made: what the back end says of itself, then the stack, then (if `ledger`) the books.

    Without a stack, or if it does not run, what follows could only repeat that, so the examination ends there.
    """
    last = None
    async for last in backend.examine():
        yield last
    if not backend.exists():
        cause = "it was never started, --stack names another one, or it was removed by `down --delete-data`"
        yield bad("stack", f"there is no stack {backend.stack}", cause=cause, fix="shardctl up")
        return
    if not await backend.is_running():
        if last is None or last.verdict is not Verdict.BAD:  # a back end that says why says it last
            yield bad("stack", "does not run", cause="it was stopped, or its machine was restarted", fix="shardctl up")
        return
    yield judge_clock(backend.spec().clock_offset_s)
    for finding in [
        *await _processes(backend),
        judge_settings(await backend.outdated()),
        await _topics(backend),
        *await _map(backend),
        await _published_map(backend),
        *[await _reconciliation(backend, cell.name) for cell in backend.spec().cells],
    ]:
        yield finding
    if ledger:
        for finding in await _ledgers(backend):
            yield finding


async def _processes(backend: Backend) -> list[Finding]:
    planned = {process.name: process for process in await backend.plan()}
    findings = []
    for row in await backend.status():
        process = planned.get(row.name)
        if process is not None:
            ready = row.state == "running" and await backend.is_ready(process)
            findings.append(judge_process(row.name, row.state, row.detail, ready=ready))
    return findings


async def _topics(backend: Backend) -> Finding:
    addresses = backend.addresses()
    spec = addresses.spec
    wanted = stack_topics(tuple(cell.name for cell in spec.cells), spec.topic_prefix)
    try:
        present = await broker_topics(addresses.kafka, _BROKER_ANSWER_S)
    except BrokerUnreachable as error:
        cause = "the broker is starting, or ended; events wait in the cells' outboxes meanwhile"
        return bad("topics", f"the broker does not answer: {error}", cause=cause, fix="shardctl logs kafka")
    return judge_topics(wanted, present)


async def _map(backend: Backend) -> list[Finding]:
    addresses = backend.addresses()
    try:
        rows = {row.cell: row for row in await list_cells(backend)}
    except (ShardMapRefused, ShardctlError) as error:
        cause = "the control database does not answer, or `shardctl up` did not finish; routers keep the map they have"
        return [bad("shard map", str(error), cause=cause, fix="shardctl logs control-postgres; shardctl up")]
    listening = {cell.name: (addresses.api_urls(cell), addresses.operator_urls(cell)) for cell in addresses.spec.cells}
    return judge_map(listening, rows)


async def _published_map(backend: Backend) -> Finding:
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


async def _reconciliation(backend: Backend, cell: str) -> Finding:
    try:
        runs = await list_reconciliations(backend, cell, 1)
    except ShardctlError as error:
        return _silent_cell(f"reconciliation of {cell}", cell, error)
    return judge_reconciliation(cell, runs[0] if runs else None, stack_clock(backend).now())


async def _ledgers(backend: Backend) -> list[Finding]:
    findings = []
    async with open_cell_admin(backend) as admin:
        for cell in backend.spec().cells:
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
