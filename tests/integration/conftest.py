"""A broker for the tests of the event plane, one per session; a worker for those of the venue, one per test."""

import signal
from collections.abc import Iterator

import pytest

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
