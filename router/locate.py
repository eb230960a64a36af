"""User -> the cell that serves the user, by one map. Pure; no default: a user may have none."""

from uuid import UUID

from infra.topology.cells import Cell, CellState
from infra.topology.shard_map import ShardMap


def locate_user(shard_map: ShardMap, user_id: UUID) -> Cell | None:
    cell = shard_map.locate(user_id)
    if cell is None or cell.state is CellState.RETIRED:
        return None
    return cell
