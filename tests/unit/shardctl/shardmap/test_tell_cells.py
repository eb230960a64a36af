"""The map's directory reaches the cells as a file, which is distributed when it says something new."""

from pathlib import Path

import pytest

from infra.security.cell_keys import follow_operator_urls, follow_public_keys
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap, build_map
from shardctl.shardmap.tell_cells import keys_of_cell, tell_cells
from tests.support.routers import LINEAGE

pytestmark = pytest.mark.anyio


class KeysFolder:
    """Of a back end only what is asked here."""

    def __init__(self, folder: Path) -> None:
        self.keys_folder = folder
        self.published = 0

    async def publish_keys(self) -> None:
        self.published += 1

    def reader_dsn(self, server: str) -> str:
        raise NotImplementedError(server)


def map_with(cell: Cell) -> ShardMap:
    return build_map(lineage=LINEAGE, epoch=1, cells=[cell], buckets={})


async def test_cells_are_told_what_is_new_and_nothing_twice(tmp_path: Path) -> None:
    backend = KeysFolder(tmp_path)
    keys = keys_of_cell(tmp_path, "cell-1")
    assert keys_of_cell(tmp_path, "cell-1") == keys, "they are made once"
    told = map_with(Cell(CellId("cell-1"), operator_urls=("http://127.0.0.1:7",), signing_keys=keys))
    for _ in range(2):
        await tell_cells(backend, told)
    assert backend.published == 1
    assert set(follow_public_keys(tmp_path).current().keys) == {("cell-1", key_id) for key_id, _ in keys}
    await tell_cells(backend, map_with(Cell(CellId("cell-1"), operator_urls=("http://127.0.0.1:8",))))
    assert backend.published == 2
    assert follow_operator_urls(tmp_path).current() == {"cell-1": ("http://127.0.0.1:8",)}
