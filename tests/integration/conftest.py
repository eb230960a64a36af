"""What several tests here stand on: a bare cell, and somebody with every privilege."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.backends.local.backend import LocalBackend
from tests.support.bare_cell import Cell
from tests.support.control_service import folder_stack
from tests.support.databases import TestDatabase


@pytest.fixture
def cell(cell_database: TestDatabase) -> Iterator[Cell]:
    """A cell that is its database, with a reference price."""
    cell = Cell(cell_database.service_dsn)
    cell.call("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
    with cell.connection:
        yield cell


@pytest.fixture
def root(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with every privilege."""
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A stack of which nothing runs."""
    return folder_stack(tmp_path)
