"""One cell's entry in the map: a new cell joins it, a known one keeps buckets, state and weight and may move house."""

from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap
from shardctl.shardmap.store import ShardMapStore
from shardctl.stack.current import actor


async def register_cell(
    store: ShardMapStore, shard_map: ShardMap, name: str, api_urls: tuple[str, ...], operator_urls: tuple[str, ...]
) -> ShardMap:
    """The map with it; the same one if nothing changes. Raises StaleEpoch."""
    known = shard_map.cell(name)
    if known is None:
        wanted = Cell(CellId(name), api_urls=api_urls, operator_urls=operator_urls)
        return await store.add_cell(wanted, actor=actor(), reason="the cell joins")
    wanted = Cell(known.cell_id, known.state, known.weight, api_urls, operator_urls)
    if wanted == known:
        return shard_map
    return await store.update_cell(wanted, actor=actor(), reason="its addresses changed")
