"""The cells of the shard map, with the buckets and pinned users that each owns."""

from collections import Counter
from dataclasses import dataclass

from infra.backends.backend import Backend
from shardctl.shardmap.store import open_store
from shardctl.stack.current import control_dsn


@dataclass(frozen=True, slots=True)
class CellRow:
    cell: str
    state: str
    weight: int
    buckets: int
    pins: int
    api_urls: tuple[str, ...]
    operator_urls: tuple[str, ...]


async def list_cells(backend: Backend) -> list[CellRow]:
    """In order of name. Raises NotReachable, MapNotCreated."""
    async with open_store(control_dsn(backend)) as store:
        shard_map = await store.load()
    buckets = shard_map.bucket_counts()
    pins = Counter(cell_id for _, cell_id in shard_map.pins())
    return [
        CellRow(
            cell.cell_id,
            cell.state.value,
            cell.weight,
            buckets[cell.cell_id],
            pins[cell.cell_id],
            cell.api_urls,
            cell.operator_urls,
        )
        for cell in shard_map.cells
    ]
