"""When Kafka and a cell's database count as equal, and what is done while the cell still writes."""

import pytest

from shardctl.events.count import (
    PAUSE_S,
    PAUSES_MAX,
    READINGS_MAX,
    DatabaseCount,
    EventsCount,
    KafkaCount,
    compare,
    count_at_rest,
)

RESTING = DatabaseCount(7, 5, 0)


def test_equal_counts_are_equal_whatever_was_sent_twice() -> None:
    assert compare("cell-1", RESTING, KafkaCount(7, 5, 2), RESTING).equal


@pytest.mark.parametrize(
    ("kafka", "database"),
    [
        (KafkaCount(6, 5, 0), DatabaseCount(7, 5, 0)),
        (KafkaCount(7, 5, 0), DatabaseCount(7, 4, 0)),
        (KafkaCount(7, 5, 0), DatabaseCount(7, 5, 1)),
    ],
    ids=["lost", "unknown", "waiting"],
)
def test_a_lost_an_unknown_or_a_waiting_event_is_a_difference(kafka: KafkaCount, database: DatabaseCount) -> None:
    assert not compare("cell-1", database, kafka, database).equal


def test_numbers_of_a_cell_that_wrote_meanwhile_prove_nothing() -> None:
    found = compare("cell-1", RESTING, KafkaCount(8, 6, 0), DatabaseCount(8, 6, 0))
    assert not found.at_rest
    assert not found.equal


class Counted:
    """What the cell and Kafka say, reading by reading, and how long was waited between."""

    def __init__(self, database: list[DatabaseCount], kafka: list[KafkaCount]) -> None:
        self._database = iter(database)
        self._kafka = iter(kafka)
        self.waited: list[float] = []

    async def count(self) -> EventsCount:
        return await count_at_rest("cell-1", self._read_database, self._read_kafka, sleep=self._sleep)

    async def _read_database(self) -> DatabaseCount:
        return next(self._database)

    async def _read_kafka(self) -> KafkaCount:
        return next(self._kafka)

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


@pytest.mark.anyio
async def test_a_fill_between_the_two_readings_is_counted_again() -> None:
    """A report that the exchange had on its way when every queue of the cell was empty."""
    filled = DatabaseCount(8, 6, 0)
    counted = Counted([RESTING, filled, filled, filled], [KafkaCount(8, 6, 0)] * 2)
    assert (await counted.count()).equal
    assert counted.waited == [PAUSE_S]


@pytest.mark.anyio
async def test_what_waits_in_the_outbox_is_waited_for_before_kafka_is_read() -> None:
    waiting = DatabaseCount(7, 5, 2)
    counted = Counted([waiting, waiting, RESTING, RESTING], [KafkaCount(7, 5, 0)])
    assert (await counted.count()).equal


@pytest.mark.anyio
async def test_a_relay_that_stands_still_ends_the_wait() -> None:
    waiting = DatabaseCount(7, 5, 2)
    found = await Counted([waiting] * (PAUSES_MAX + 2), [KafkaCount(5, 3, 0)]).count()
    assert found.at_rest
    assert not found.equal


@pytest.mark.anyio
async def test_a_difference_of_a_resting_cell_is_said_at_once() -> None:
    counted = Counted([RESTING, RESTING], [KafkaCount(6, 5, 0)])
    found = await counted.count()
    assert found.at_rest
    assert not found.equal
    assert counted.waited == []


@pytest.mark.anyio
async def test_a_cell_that_never_rests_ends_the_count() -> None:
    database = [DatabaseCount(number, 5, 0) for number in range(2 * READINGS_MAX)]
    found = await Counted(database, [KafkaCount(1, 5, 0)] * READINGS_MAX).count()
    assert not found.at_rest
    assert not found.equal
