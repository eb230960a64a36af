"""Which cells there are at this moment, by the newest map, and which of them answer."""

import asyncio

from infra.runtime.map_watcher import MapWatcher
from infra.topology.cells import Cell
from infra.topology.shard_map import ShardMap
from router.errors import CellUnavailable
from router.fleet import Fleet


class CellDirectory:
    """For those who place or seek users without a route: sign-up and login."""

    def __init__(self, watcher: MapWatcher, fleet: Fleet) -> None:
        self._watcher = watcher
        self._fleet = fleet

    def shard_map(self) -> ShardMap:
        """Raises `CellUnavailable` before the first map has come."""
        shard_map = self._watcher.current
        if shard_map is None:
            raise CellUnavailable("this router has no shard map yet")
        return shard_map

    def is_reachable(self, cell: Cell) -> bool:
        return self._fleet.cell(cell.cell_id).is_reachable(asyncio.get_running_loop().time())
