"""What several tests here stand on."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.databases import TestDatabase


@pytest.fixture
def root(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with every privilege."""
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        yield connection
