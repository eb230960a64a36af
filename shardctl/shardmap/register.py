"""One cell's entry in the map: a new cell joins it, a known one keeps buckets, state and weight and may move house. Its
public keys are only ever added to."""

from dataclasses import replace

from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap
from shardctl.persons import os_user
from shardctl.shardmap.store import ShardMapStore


async def register_cell(
    store: ShardMapStore,
    shard_map: ShardMap,
    name: str,
    api_urls: tuple[str, ...],
    operator_urls: tuple[str, ...],
    *,
    signing_keys: tuple[tuple[str, str], ...] = (),
    by: str | None = None,
    reason: str = "the cell joins",
) -> ShardMap:
    """The map with it; the same one if nothing changes. `by`: who is recorded, by default the person at this terminal.
    Raises StaleEpoch if `shard_map` is not the newest any more, KeyIdReused."""
    known = shard_map.cell(name)
    who = by or os_user()
    if known is None:
        wanted = Cell(CellId(name), api_urls=api_urls, operator_urls=operator_urls, signing_keys=signing_keys)
        return await store.add_cell(wanted, actor=who, reason=reason, expected=shard_map)
    keys = tuple(sorted({*known.signing_keys, *signing_keys}))
    wanted = replace(known, api_urls=api_urls, operator_urls=operator_urls, signing_keys=keys)
    if wanted == known:
        return shard_map
    changed = "keys" if keys != known.signing_keys else "addresses"
    return await store.update_cell(wanted, actor=who, reason=f"its {changed} changed", expected=shard_map)
