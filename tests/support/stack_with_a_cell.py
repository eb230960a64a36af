"""A stack of which one app server of one cell runs, and whose map has that cell: for acts that reach into a cell."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import UUID

from infra.backends.local.backend import LocalBackend
from infra.backends.local.folders import StackFolder
from infra.security.keys import generate_key_files
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from shardctl.shardmap.store import open_store
from tests.support.app_server import app_server
from tests.support.control_service import folder_stack
from tests.support.databases import TestDatabase

NOWHERE = ("http://127.0.0.1:1",)
READY_S = 120.0
"""A process starts, perhaps on a busy machine."""


@contextmanager
def stack_with_a_cell(root: Path, database: TestDatabase, redis_url: str | None = None) -> Iterator[LocalBackend]:
    folder = StackFolder(root / "mine")
    folder.ensure()
    generate_key_files(folder.keys)
    with app_server(database, folder.keys) as server:
        port = urlsplit(server.operator_url).port
        assert port is not None
        _await_ready(server.operator_url)
        yield folder_stack(root, redis_url=redis_url, ports={"cell-1-api-1.operator": port})


async def begin_map(database: TestDatabase, pins: Mapping[UUID, str]) -> None:
    """One cell, and these users pinned to it."""
    async with open_store(database.owner_dsn) as store:
        await store.create_lineage()
        cell = Cell(CellId("cell-1"), api_urls=NOWHERE, operator_urls=NOWHERE)
        await store.add_cell(cell, actor="ann", reason="a test")
        await store.set_pins(dict(pins), actor="ann", reason="a test")


def _await_ready(operator_url: str) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            with urlopen(f"{operator_url}/health/ready", timeout=5) as answer:
                assert json.load(answer)["status"] == "ready"
                return
        except (URLError, OSError):
            assert time.monotonic() < until, "the app server does not become ready"
            time.sleep(0.05)
