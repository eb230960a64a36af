"""The cell of a new user: open, reachable, least loaded by its weight; and an id that falls into one of its buckets.

Ids are drawn until one fits (1,024 buckets owned: 64 draws on average, well under a millisecond). A known user is never
placed here, whatever the map says.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from uuid import UUID

from infra.topology.cells import Cell, CellState
from infra.topology.identifiers import UserId
from infra.topology.shard_map import ShardMap

_DRAWS_MAX: Final = 65_536
"""Four per bucket of the map, on average: a cell with one bucket still gets an id nearly always, within 0.2 s."""


class NoOpenCell(Exception):
    """No cell takes new users at the moment."""


class IdNotFound(Exception):
    """No id fell into the cell's buckets: it owns too few."""


def choose_cell(cells: Iterable[Cell], loads: Mapping[str, int], is_reachable: Callable[[Cell], bool]) -> Cell:
    """Pure. Ties go to the first by name, so that equal routers agree. Raises `NoOpenCell`."""
    candidates = [
        cell
        for cell in cells
        if cell.state is CellState.OPEN and cell.weight > 0 and cell.api_urls and is_reachable(cell)
    ]
    if not candidates:
        raise NoOpenCell("no cell takes new users at the moment")
    return min(candidates, key=lambda cell: ((loads.get(cell.cell_id, 0) + 1) / cell.weight, cell.cell_id))


def mint_user_id(shard_map: ShardMap, cell: Cell, random_bytes: Callable[[int], bytes] = os.urandom) -> UserId:
    """A random (version 4) id whose bucket the cell owns and that no pin places elsewhere. Raises `IdNotFound`."""
    for _ in range(_DRAWS_MAX):
        user_id = UUID(bytes=random_bytes(16), version=4)
        if shard_map.locate(user_id) is cell:
            return UserId(user_id)
    raise IdNotFound(f"{cell.cell_id} owns too few buckets for new users")
