"""Lead customers' requests by other addresses: the next epoch of the map, then every router that runs has it.

Only then may a process whose address has left the map end: no router sends it anything any more.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

from infra.backends.addresses import Addresses
from infra.backends.backend import Backend, BackendError, Redirect
from infra.backends.cell_spec import ProcessKind
from infra.runtime.redis_client import REDIS_FAILURES
from infra.topology.shard_map import ShardMap
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import ShardMapStore, open_store
from shardctl.stack.current import control_dsn

FOLLOW_TIMEOUT_S: Final = 20.0
"""By Redis it takes milliseconds; without it a router asks the control database every few seconds."""
_PAUSE_S: Final = 0.05
"""Between two questions to one router."""


def make_redirect(
    backend: Backend, open_map: Callable[[], AbstractAsyncContextManager[ShardMapStore]] | None = None
) -> Redirect:
    """`open_map`: how a step of an operation writes the map; without it, as the person at this terminal."""

    async def redirect(addresses: Addresses) -> None:
        async with open_map() if open_map is not None else open_store(control_dsn(backend)) as store:
            before = shard_map = await store.load()
            for cell in addresses.spec.cells:
                if shard_map.cell(cell.name) is not None:  # who is not in the map yet gets no requests
                    urls = addresses.api_urls(cell), addresses.operator_urls(cell)
                    shard_map = await register_cell(store, shard_map, cell.name, *urls)
        with suppress(*REDIS_FAILURES):  # routers read the control database within seconds
            await publish_map(addresses.redis_url, shard_map, previous=before)
        await await_routers(backend, shard_map)

    return redirect


async def await_routers(backend: Backend, shard_map: ShardMap, timeout_s: float = FOLLOW_TIMEOUT_S) -> None:
    """Every router that runs serves by this map or a newer one. Raises BackendError that names those that do not."""
    running = {row.name for row in await backend.status() if row.state == "running"}
    waiting = [process for process in await backend.plan() if process.kind is ProcessKind.ROUTER]
    waiting = [process for process in waiting if process.name in running]
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        facts = [await backend.readiness_facts(process) for process in waiting]
        waiting = [router for router, said in zip(waiting, facts, strict=True) if not _follows(said, shard_map)]
        if not waiting:
            return
        if asyncio.get_running_loop().time() >= deadline:
            names = ", ".join(process.name for process in waiting)
            raise BackendError(
                f"after {timeout_s:.0f} s these routers do not serve by epoch {shard_map.epoch} of the map: {names}; "
                f"nobody was stopped: `shardctl logs {waiting[0].name}`, then the same command again"
            )
        await asyncio.sleep(_PAUSE_S)


def _follows(facts: object, shard_map: ShardMap) -> bool:
    if not isinstance(facts, dict):
        return False
    epoch = facts.get("map_epoch")
    return facts.get("map_lineage") == str(shard_map.lineage) and isinstance(epoch, int) and epoch >= shard_map.epoch
