"""What `shardctl events` reads from a real broker: the newest, all, those to come; counted without copies."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from infra.runtime.envelope import Envelope, encode_envelope, event_id, partition_key
from infra.runtime.kafka_admin import ensure_topics
from infra.runtime.kafka_consumer import Record, TopicsMissing
from infra.runtime.kafka_producer import KafkaProducer, OutgoingMessage
from infra.runtime.settings import KafkaSettings
from infra.topology.topics import cell_topics
from shardctl.events.cell_topics import all_events, follow_events, newest_events
from shardctl.events.count import KafkaCount, count_in_kafka
from shardctl.events.published import Head, Heads
from tests.support.eventually import PATIENCE_S
from tests.support.kafka_broker import KafkaBroker

pytestmark = pytest.mark.anyio

CELL = "cell-2"
START = datetime(2026, 11, 20, 15, tzinfo=UTC)
USERS = [str(uuid.UUID(int=number)) for number in range(1, 6)]


def order_event(number: int) -> Envelope:
    """The n-th event of the cell: users take turns, a second apart."""
    user, seq = USERS[number % len(USERS)], number // len(USERS) + 1
    return Envelope(
        event_id=event_id(user, "orders", seq),
        type="order.routed",
        version=1,
        cell=CELL,
        user_id=user,
        epoch=1,
        stream="orders",
        seq=seq,
        write_seq=seq,
        occurred_at=START + timedelta(seconds=number),
        data={"to": "routed"},
    )


def heads_of(events: int) -> Callable[[], Awaitable[Heads]]:
    """A cell whose users have published so many order events each."""
    heads = {uuid.UUID(user).bytes: Head(events, 0, "", events, 0) for user in USERS}

    async def found() -> Heads:
        return heads

    return found


@pytest.fixture
async def settings(kafka_broker: KafkaBroker) -> KafkaSettings:
    """Fifty order events, the last two of them sent twice; no ledger event."""
    found = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")
    topics = list(cell_topics(found.topic_prefix, CELL))
    await ensure_topics(found.bootstrap_servers, topics, partitions=8, timeout_s=PATIENCE_S)
    events = [order_event(number) for number in (*range(50), 48, 49)]
    async with KafkaProducer(found, "test") as producer:
        batch = [OutgoingMessage(topics[0], partition_key(event.user_id), encode_envelope(event)) for event in events]
        assert await producer.send_batch(batch) == []
    return found


def numbers(records: list[Record]) -> list[int]:
    known = {encode_envelope(order_event(number)): number for number in range(50)}
    return [known[record.value] for record in records]


async def test_the_newest_come_oldest_first_over_all_partitions(settings: KafkaSettings) -> None:
    assert numbers([record async for record in newest_events(settings, CELL, 5)]) == [47, 48, 48, 49, 49]


async def test_all_events_are_shown_up_to_the_limit(settings: KafkaSettings) -> None:
    assert sorted(numbers([record async for record in all_events(settings, CELL, None)])) == sorted(
        [*range(50), 48, 49]
    )
    assert len([record async for record in all_events(settings, CELL, 7)]) == 7


async def test_following_ends_at_the_limit(settings: KafkaSettings) -> None:
    assert len([record async for record in follow_events(settings, CELL, 52, from_beginning=True)]) == 52


async def test_copies_are_not_counted_as_events(settings: KafkaSettings) -> None:
    assert await count_in_kafka(settings, CELL, heads_of(10)) == KafkaCount(
        order_events=50, ledger_events=0, duplicates=2
    )
    short = await count_in_kafka(settings, CELL, heads_of(9))
    assert (short.missing, short.unknown) == (0, 5), "the tenth of each user was never written"
    long = await count_in_kafka(settings, CELL, heads_of(11))
    assert (long.missing, long.unknown) == (5, 0), "two copies stand for nothing"


async def test_a_cell_without_topics_is_said_so(settings: KafkaSettings) -> None:
    with pytest.raises(TopicsMissing, match=r"cell-99\.order-events"):
        await count_in_kafka(settings, "cell-99", heads_of(0))
