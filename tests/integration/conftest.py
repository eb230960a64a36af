"""What several tests here stand on: a broker for the event plane, one per session; a worker, a bare cell."""

import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.bare_cell import Cell
from tests.support.databases import TestDatabase
from tests.support.exchange_process import ExchangeProcess
from tests.support.kafka_broker import KafkaBroker, run_kafka_broker
from tests.support.venue_books import WorkerProcess


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A broker of our own: a test may kill it, and leaves it running."""
    with run_kafka_broker() as broker:
        yield broker


@pytest.fixture
def worker(cell_database: TestDatabase, exchange: ExchangeProcess) -> Iterator[WorkerProcess]:
    """A cell's worker as a process, not started yet."""
    process = WorkerProcess(cell_database, exchange)
    try:
        yield process
    finally:
        if process.process is not None:
            process.end(signal.SIGKILL)


@pytest.fixture
def cell(cell_database: TestDatabase) -> Iterator[Cell]:
    """A cell that is its database, with a reference price."""
    cell = Cell(cell_database.service_dsn)
    cell.call("select brokerage.set_reference_prices_v1(array['AAPL'], array[100000000], now())")
    with cell.connection:
        yield cell


@pytest.fixture
def root(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with every privilege."""
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        yield connection
