"""A broker for the tests of the event plane, one per session."""

from collections.abc import Iterator

import pytest

from tests.support.kafka_broker import KafkaBroker, run_kafka_broker


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A broker of our own: a test may kill it, and leaves it running."""
    with run_kafka_broker() as broker:
        yield broker
