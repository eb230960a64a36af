"""Whether a cell takes new users. Its present users are not affected and nobody moves.

The change is one epoch of the map, then a notice to the routers. Repeating it changes nothing. If Redis is away the
change holds all the same: routers read it in the control database within seconds.
"""

from dataclasses import dataclass, replace

from infra.runtime.redis_client import REDIS_FAILURES
from infra.topology.cells import CellState
from infra.topology.shard_map import ShardMap
from shardctl.errors import Refused
from shardctl.operations.resources import StackResources
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.store import ShardMapStore


@dataclass(frozen=True, slots=True)
class StateChange:
    cell: str
    state: str
    epoch: int
    changed: bool
    published: bool
    """To Redis; if false, routers read the map in the control database within seconds."""
    cells_open: int
    """How many cells take new users now."""


async def set_cell_state(on: StackResources, name: str, wanted: CellState) -> StateChange:
    """Cordoned: take no new users; open: take them again. Raises `Refused` for an unknown, draining or retired cell,
    `StaleEpoch`, `NotReachable`, `Interrupted`."""
    assert on.reason is not None, "the state of a cell is changed for a reason"
    async with on.map_store() as store:
        before = await store.load()
        after = await _change(store, before, name, wanted, actor=on.actor, reason=on.reason)
    published = await _publish(on.backend.addresses().redis_url, before, after)
    cells_open = sum(cell.state is CellState.OPEN for cell in after.cells)
    return StateChange(name, wanted.value, after.epoch, after.epoch != before.epoch, published, cells_open)


async def _change(
    store: ShardMapStore, held: ShardMap, name: str, wanted: CellState, *, actor: str, reason: str
) -> ShardMap:
    cell = held.cell(name)
    if cell is None:
        known = ", ".join(each.cell_id for each in held.cells)
        raise Refused(f"the map has no cell {name}; it has {known}")
    if cell.state in (CellState.DRAINING, CellState.RETIRED):
        raise Refused(f"{name} is {cell.state.value}: it takes no new users, and this command does not change that")
    return await store.update_cell(replace(cell, state=wanted), actor=actor, reason=reason, expected=held)


async def _publish(redis_url: str, before: ShardMap, after: ShardMap) -> bool:
    try:
        return await publish_map(redis_url, after, previous=before)
    except REDIS_FAILURES:
        return False
