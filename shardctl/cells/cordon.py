"""Whether a cell takes new users. Its present users are not affected and nobody moves.

The change is one epoch of the map, then a notice to the routers. Repeating it changes nothing. If Redis is away the
change holds all the same: routers read it in the control database within seconds.
"""

from dataclasses import dataclass, replace

from infra.backends.backend import Backend
from infra.runtime.redis_client import REDIS_FAILURES
from infra.topology.cells import CellState
from infra.topology.shard_map import ShardMap
from shardctl.audit.recording import recorded_act
from shardctl.errors import Refused
from shardctl.persons import os_user
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.store import ShardMapStore, open_store
from shardctl.stack.current import control_dsn


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


async def cordon_cell(backend: Backend, name: str, reason: str) -> StateChange:
    """Take no new users. Raises `Refused` for an unknown, draining or retired cell, `StaleEpoch`, `NotReachable`."""
    async with recorded_act(backend, "cells.cordon", name, reason=reason):
        return await _set_state(backend, name, CellState.CORDONED, reason)


async def uncordon_cell(backend: Backend, name: str, reason: str) -> StateChange:
    """Take new users again. Raises as `cordon_cell`."""
    async with recorded_act(backend, "cells.uncordon", name, reason=reason):
        return await _set_state(backend, name, CellState.OPEN, reason)


async def _set_state(backend: Backend, name: str, wanted: CellState, reason: str) -> StateChange:
    async with open_store(control_dsn(backend)) as store:
        before = await store.load()
        after = await _change(store, before, name, wanted, reason)
    published = await _publish(backend.addresses().redis_url, before, after)
    cells_open = sum(cell.state is CellState.OPEN for cell in after.cells)
    return StateChange(name, wanted.value, after.epoch, after.epoch != before.epoch, published, cells_open)


async def _change(store: ShardMapStore, held: ShardMap, name: str, wanted: CellState, reason: str) -> ShardMap:
    cell = held.cell(name)
    if cell is None:
        known = ", ".join(each.cell_id for each in held.cells)
        raise Refused(f"the map has no cell {name}; it has {known}")
    if cell.state in (CellState.DRAINING, CellState.RETIRED):
        raise Refused(f"{name} is {cell.state.value}: it takes no new users, and this command does not change that")
    return await store.update_cell(replace(cell, state=wanted), actor=os_user(), reason=reason, expected=held)


async def _publish(redis_url: str, before: ShardMap, after: ShardMap) -> bool:
    try:
        return await publish_map(redis_url, after, previous=before)
    except REDIS_FAILURES:
        return False
