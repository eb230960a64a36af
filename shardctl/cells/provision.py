"""Give cells their schema and their entry in the shard map.

Every step may be repeated: a migrated database stays as it is; a registered cell keeps its buckets, only its addresses
are updated. The map is the last step, so no user is sent to a cell that has never worked.
"""

import asyncio
from collections.abc import Callable

from infra.backends.addresses import CONTROL_POSTGRES
from infra.backends.backend import Backend, BackendError, Phase, Report, Step, process_names
from infra.backends.cell_spec import CellSpec, Job, ProcessKind, ProcessSpec, postgres_name
from infra.runtime.migrator import migrate
from infra.runtime.redis_client import REDIS_FAILURES
from infra.topology.shard_map import ShardMap
from shardctl.acts.recording import recorded_act
from shardctl.errors import Refused
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import open_store
from shardctl.stack.current import actor, control_dsn

_READY_TIMEOUT_S = 60.0
"""As in `stack/bring_up.py`: seconds are usual, the rest is for a busy machine."""
_MIGRATIONS_AT_ONCE = 2
"""Each is a Python process that uses one core fully for a second or two."""


async def migrate_control(backend: Backend, report: Report) -> None:
    """Roles, then the control schema. Raises MigrationError."""
    await backend.reconcile_roles(CONTROL_POSTGRES)
    applied = await migrate(control_dsn(backend), package="shardctl")
    waiting = f", {len(applied.waiting)} wait until no older release runs" if applied.waiting else ""
    report(Step("control schema", Phase.READY, f"level {applied.level}, {applied.code}{waiting}"))


async def migrate_cells(backend: Backend, cells: tuple[CellSpec, ...], report: Report) -> dict[str, str]:
    """Each cell's own image migrates its own database; shardctl knows no cell SQL.

    Returns failures by cell: one cell's failure does not keep the others down.
    """
    failures: dict[str, str] = {}
    limit = asyncio.Semaphore(_MIGRATIONS_AT_ONCE)

    async def one(cell: CellSpec) -> None:
        try:
            async with limit:
                await backend.reconcile_roles(postgres_name(cell.name))
                result = await backend.run_job(Job("cell", ("migrate",), cell.name))
        except BackendError as error:
            failures[cell.name] = str(error)
            return
        if result.exit_code != 0:
            failures[cell.name] = f"{cell.name}: `python -m cell migrate` failed:\n{result.output.strip()[-2000:]}"
        else:
            report(Step(f"{cell.name} schema", Phase.READY))

    await asyncio.gather(*(one(cell) for cell in cells))
    return failures


async def register_cells(backend: Backend, cells: tuple[CellSpec, ...], report: Report) -> ShardMap:
    """Enter every cell and its addresses into the map, then notify routers. New cells get unused buckets; nobody
    moves."""
    addresses = backend.addresses()
    async with open_store(control_dsn(backend)) as store:
        await store.create_lineage(actor=actor())
        shard_map = await store.load()
        for cell in cells:
            shard_map = await register_cell(
                store, shard_map, cell.name, addresses.api_urls(cell), addresses.operator_urls(cell)
            )
    await _publish(addresses.redis_url, shard_map, report)
    return shard_map


async def _publish(redis_url: str, shard_map: ShardMap, report: Report) -> None:
    try:
        await publish_map(redis_url, shard_map)
    except REDIS_FAILURES as error:  # no failure of the command: routers read the control database within seconds
        report(Step("shard map", Phase.READY, f"epoch {shard_map.epoch}, not published to Redis: {error}"))
    else:
        report(Step("shard map", Phase.READY, f"epoch {shard_map.epoch}"))


async def add_cell(backend: Backend, cell: CellSpec, report: Report, *, reason: str | None = None) -> ShardMap:
    """A further cell joins a running stack: its database, schema, topics and processes first, the map last.

    Raises Refused (no running stack; the cell exists with another number of app servers) and BackendError. A failure
    leaves a cell that no user is sent to; the same command continues.
    """
    if not await backend.is_running():
        raise Refused(f"the stack {backend.stack} is not running: `shardctl up` first")
    act = recorded_act(backend, "add_cell", cell.name, reason=reason, arguments={"apis": cell.apis})
    async with act, backend.lock():
        spec = backend.spec()
        if cell not in spec.cells:
            if cell.name in {item.name for item in spec.cells}:
                raise Refused(f"{cell.name} exists with another number of apis: `shardctl up --apis N` changes that")
            spec = spec.with_cell(cell)
        await backend.create(spec)
        await _start(backend, lambda process: process.cell == cell.name and process.kind is ProcessKind.POSTGRES)
        failures, _ = await asyncio.gather(migrate_cells(backend, (cell,), report), backend.ensure_topics())
        if failures:
            raise BackendError(failures[cell.name])
        await _start(backend, lambda process: process.cell == cell.name)
        return await register_cells(backend, (cell,), report)


async def _start(backend: Backend, wanted: Callable[[ProcessSpec], bool]) -> None:
    names = await process_names(backend, wanted)
    await backend.start(names)
    await backend.await_ready(names, _READY_TIMEOUT_S)
