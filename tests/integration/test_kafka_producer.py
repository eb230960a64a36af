"""The producer and the readers against a real broker."""

import uuid
from collections.abc import AsyncIterator

import pytest

from infra.runtime.kafka_admin import ensure_topics
from infra.runtime.kafka_consumer import DEAD_LETTERS_SUFFIX, GroupReader, Record, TopicReader, TopicsMissing
from infra.runtime.kafka_producer import BATCH_MESSAGES_MAX, KafkaProducer, OutgoingMessage
from infra.runtime.settings import KafkaSettings
from tests.support.eventually import PATIENCE_S, eventually
from tests.support.kafka_broker import KafkaBroker

pytestmark = pytest.mark.anyio

TOO_LARGE = b"x" * 2_000_000


@pytest.fixture
def settings(kafka_broker: KafkaBroker) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)


@pytest.fixture
async def topic(settings: KafkaSettings) -> str:
    name = f"t{uuid.uuid4().hex[:8]}"
    await ensure_topics(
        settings.bootstrap_servers, [name, name + DEAD_LETTERS_SUFFIX], partitions=8, timeout_s=PATIENCE_S
    )
    return name


@pytest.fixture
async def producer(settings: KafkaSettings) -> AsyncIterator[KafkaProducer]:
    async with KafkaProducer(settings, "test") as opened:
        yield opened


def messages(topic: str, count: int, users: int = 50) -> list[OutgoingMessage]:
    return [OutgoingMessage(topic, f"user-{n % users}".encode(), str(n).encode()) for n in range(count)]


async def read_all(settings: KafkaSettings, topic: str, newest: int | None = None) -> list[Record]:
    async with TopicReader(settings, [topic]) as reader:
        return [record async for batch in reader.read_to_end(newest) for record in batch]


async def test_a_batch_is_done_when_all_of_it_is_there_in_order(
    producer: KafkaProducer, settings: KafkaSettings, topic: str
) -> None:
    assert await producer.send_batch(messages(topic, 2_000)) == []
    by_key: dict[bytes | None, list[int]] = {}
    for record in await read_all(settings, topic):
        by_key.setdefault(record.key, []).append(int(record.value))
    assert sum(len(numbers) for numbers in by_key.values()) == 2_000
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


async def test_a_refused_message_stops_its_key_and_no_other(
    producer: KafkaProducer, settings: KafkaSettings, topic: str
) -> None:
    batch = [
        OutgoingMessage(topic, b"a", b"1"),
        OutgoingMessage(topic, b"a", TOO_LARGE),
        OutgoingMessage(topic, b"b", b"2"),
        OutgoingMessage(topic, b"a", b"3"),
    ]
    refusals = await producer.send_batch(batch)
    assert [refusal.index for refusal in refusals] == [1, 3]
    assert "MSG_SIZE_TOO_LARGE" in refusals[0].reason
    assert sorted(record.value for record in await read_all(settings, topic)) == [b"1", b"2"]
    assert await producer.send_batch(batch[2:3]) == [], "a refusal harms no later batch"


async def test_a_batch_beyond_the_limit_is_our_own_mistake(producer: KafkaProducer, topic: str) -> None:
    with pytest.raises(ValueError, match="at most"):
        await producer.send_batch(messages(topic, BATCH_MESSAGES_MAX + 1))


async def test_the_newest_records_can_be_read_alone(
    producer: KafkaProducer, settings: KafkaSettings, topic: str
) -> None:
    await producer.send_batch(messages(topic, 100, users=1))
    assert [int(record.value) for record in await read_all(settings, topic, newest=3)] == [97, 98, 99]


async def test_a_topic_that_is_not_there_is_said_so(settings: KafkaSettings) -> None:
    with pytest.raises(TopicsMissing, match="no-such-topic"):
        await read_all(settings, "no-such-topic")


async def test_a_group_sees_what_it_has_not_committed_again(
    producer: KafkaProducer, settings: KafkaSettings, topic: str
) -> None:
    await producer.send_batch(messages(topic, 20))
    group = f"g{uuid.uuid4().hex[:8]}"
    first = await read_group(settings, group, topic, producer, commit=False, expected=20)
    again = await read_group(settings, group, topic, producer, commit=True, expected=20)
    assert sorted(first) == sorted(again)
    await producer.send_batch(messages(topic, 1))
    assert await read_group(settings, group, topic, producer, commit=True, expected=1) == [b"0"]


async def read_group(
    settings: KafkaSettings, group: str, topic: str, producer: KafkaProducer, *, commit: bool, expected: int
) -> list[bytes]:
    values: list[bytes] = []
    async with GroupReader(settings, group=group, topics=[topic], dead_letters=producer) as reader:

        async def came() -> bool:
            batch = await reader.read_batch(7)
            values.extend(record.value for record in batch)
            if commit:
                await reader.commit(batch)
            return len(values) >= expected

        await eventually(came)
    return values


async def test_a_bad_message_is_parked_with_its_bytes_and_the_reason(
    producer: KafkaProducer, settings: KafkaSettings, topic: str
) -> None:
    await producer.send_batch([OutgoingMessage(topic, b"k", b"\xff\x00", [("trace", b"t")])])
    [bad] = await read_all(settings, topic)
    async with GroupReader(settings, group="parking", topics=[topic], dead_letters=producer) as reader:
        await reader.park(bad, "not an event")
    [parked] = await read_all(settings, topic + DEAD_LETTERS_SUFFIX)
    assert (parked.key, parked.value) == (b"k", b"\xff\x00")
    assert parked.headers == [
        ("trace", b"t"),
        ("dead-letter-reason", b"not an event"),
        ("dead-letter-place", f"{topic}/{bad.partition}/{bad.offset}".encode()),
    ]
