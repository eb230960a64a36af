"""When Kafka and a cell's database count as equal."""

import pytest

from shardctl.events.count import DatabaseCount, KafkaCount, compare


def test_equal_counts_are_equal_whatever_was_sent_twice() -> None:
    assert compare("cell-1", KafkaCount(7, 5, 2), DatabaseCount(7, 5, 0)).equal


@pytest.mark.parametrize(
    ("kafka", "database"),
    [
        (KafkaCount(6, 5, 0), DatabaseCount(7, 5, 0)),
        (KafkaCount(7, 5, 0), DatabaseCount(7, 4, 0)),
        (KafkaCount(7, 5, 0), DatabaseCount(7, 5, 1)),
    ],
)
def test_a_lost_an_unknown_or_a_waiting_event_is_a_difference(kafka: KafkaCount, database: DatabaseCount) -> None:
    assert not compare("cell-1", kafka, database).equal
