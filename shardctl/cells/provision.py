"""Give cells their schema and their entry in the shard map.

Every step may be repeated: a migrated database stays as it is; a registered cell keeps its buckets, only its addresses
are updated. The map is the last step, so no user is sent to a cell that has never worked.
"""

import asyncio

from infra.backends.addresses import CONTROL_POSTGRES
from infra.backends.backend import Backend, BackendError, Phase, Report, Step
from infra.backends.cell_spec import CellSpec, Job, postgres_name
from infra.runtime.redis_client import REDIS_FAILURES
from infra.topology.shard_map import ShardMap
from shardctl.persons import os_user
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import open_store
from shardctl.shardmap.tell_cells import keys_of_cell, tell_cells
from shardctl.stack.current import control_dsn

_MIGRATIONS_AT_ONCE = 2
"""Each is a Python process that uses one core fully for a second or two."""
_OUTPUT_CHARACTERS_MAX = 1_500
"""Of a failed job: the end of a traceback, with the error in its last line. A step's detail holds 2,000, and cuts the
end off."""


async def migrate_control(backend: Backend, report: Report) -> None:
    """Roles, then the control schema, as its owner. Raises BackendError."""
    await backend.reconcile_roles(CONTROL_POSTGRES)
    output = await complete_job(backend, Job("shardctl", ("migrate",)))
    report(Step("control schema", Phase.READY, output.rpartition(": ")[2]))


async def migrate_cells(backend: Backend, cells: tuple[CellSpec, ...], report: Report) -> dict[str, str]:
    """Each cell's own image migrates its own database; shardctl knows no cell SQL.

    Returns failures by cell: one cell's failure does not keep the others down.
    """
    failures: dict[str, str] = {}
    limit = asyncio.Semaphore(_MIGRATIONS_AT_ONCE)

    async def one(cell: CellSpec) -> None:
        try:
            async with limit:
                await migrate_cell(backend, cell.name)
        except BackendError as error:
            failures[cell.name] = str(error)
        else:
            report(Step(f"{cell.name} schema", Phase.READY))

    await asyncio.gather(*(one(cell) for cell in cells))
    return failures


async def migrate_cell(backend: Backend, cell: str) -> None:
    """Roles, then the cell's schema. Raises BackendError."""
    await backend.reconcile_roles(postgres_name(cell))
    await complete_job(backend, Job("cell", ("migrate",), cell))


async def complete_job(backend: Backend, job: Job) -> str:
    """What it printed. Raises BackendError with the end of that if it failed."""
    result = await backend.run_job(job)
    output = result.output.strip()
    if result.exit_code != 0:
        where = f"{job.cell}: " if job.cell else ""
        raise BackendError(
            f"{where}`python -m {job.package} {job.arguments[0]}` failed:\n{output[-_OUTPUT_CHARACTERS_MAX:]}"
        )
    return output


async def register_cells(backend: Backend, cells: tuple[CellSpec, ...], report: Report) -> ShardMap:
    """Enter every cell, its addresses and its public keys into the map, then notify cells and routers. New cells get
    unused buckets; nobody moves. Raises NotReachable, StaleEpoch."""
    addresses = backend.addresses()
    async with open_store(control_dsn(backend)) as store:
        await store.create_lineage(actor=os_user())
        shard_map = await store.load()
        for cell in cells:
            urls = addresses.api_urls(cell), addresses.operator_urls(cell)
            keys = keys_of_cell(backend.keys_folder, cell.name)
            shard_map = await register_cell(store, shard_map, cell.name, *urls, signing_keys=keys)
    await tell_cells(backend, shard_map)
    await _publish(addresses.redis_url, shard_map, report)
    return shard_map


async def _publish(redis_url: str, shard_map: ShardMap, report: Report) -> None:
    try:
        await publish_map(redis_url, shard_map)
    except REDIS_FAILURES as error:  # no failure of the command: routers read the control database within seconds
        report(Step("shard map", Phase.READY, f"epoch {shard_map.epoch}, not published to Redis: {error}"))
    else:
        report(Step("shard map", Phase.READY, f"epoch {shard_map.epoch}"))
