"""Read topics: with a group's durable position, or once from here to the end.

`GroupReader` hands out bounded batches and moves the group's offset only when the caller says that the batch is
committed in the caller's own database; a crash before that shows the batch again, so the caller deduplicates by event
id in the same transaction. A message that can never be handled is copied to `<topic>.dead-letters` with its original
bytes, key, headers and the reason, and only then passed over.

`TopicReader` has no group and leaves no trace; operators' commands use it to look and to count.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_producer import KafkaProducer, OutgoingMessage, Refusal
from infra.runtime.settings import KafkaSettings

BATCH_RECORDS_MAX = 1_000
"""What a caller holds in memory, and commits at once."""
DEAD_LETTERS_SUFFIX = ".dead-letters"
_POLL_S = 0.2
"""The longest a thread sits in the client library, and so the longest a cancellation waits for it."""
_METADATA_S = 10.0
"""For the partitions' ends; a broker that elects leaders after a restart takes some seconds."""
_LEADERLESS = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})


class Record(NamedTuple):
    """A message as it stands on the topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class TopicsMissing(Exception):
    """The broker answers, but does not know these topics."""

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__(f"no such topic: {', '.join(topics)}")
        self.topics = list(topics)


class ParkingFailed(Exception):
    """The dead-letter topic refused a message; its offset must not be committed."""


def _record(message: Message) -> Record:
    if (error := message.error()) is not None:
        raise KafkaException(error)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    value = message.value()
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])  # never a dict on the reading side
    headers = [(name, body or b"") for name, body in pairs]
    return Record(topic, partition, offset, _bytes(message.key()), _bytes(value) or b"", headers)


def _bytes(part: str | bytes | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part


class GroupReader:
    """A consumer group's batches, at least once, in order per partition."""

    def __init__(
        self, settings: KafkaSettings, *, group: str, topics: Sequence[str], dead_letters: KafkaProducer
    ) -> None:
        self._topics = list(topics)
        self._dead_letters = dead_letters
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )

    async def __aenter__(self) -> "GroupReader":
        self._consumer.subscribe(self._topics)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self._consumer.close)

    async def read_batch(self, limit: int = BATCH_RECORDS_MAX) -> list[Record]:
        """Up to `limit` records; empty if none came within a moment."""
        messages = await asyncio.to_thread(self._consumer.consume, limit, _POLL_S)
        return [_record(message) for message in messages]

    async def commit(self, records: Sequence[Record]) -> None:
        """Move the group behind these records; call it after the caller's own commit, never before."""
        ends: dict[tuple[str, int], int] = {}
        for record in records:
            partition = (record.topic, record.partition)
            ends[partition] = max(ends.get(partition, 0), record.offset + 1)
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]
        if offsets:
            await asyncio.to_thread(self._consumer.commit, offsets=offsets, asynchronous=False)

    async def park(self, record: Record, reason: str) -> None:
        """Copy a message to the dead-letter topic as it is, with reason and position. Raises `ParkingFailed`."""
        headers = [
            *record.headers,
            ("dead-letter-reason", reason.encode()),
            ("dead-letter-place", f"{record.topic}/{record.partition}/{record.offset}".encode()),
        ]
        copy = OutgoingMessage(record.topic + DEAD_LETTERS_SUFFIX, record.key or b"", record.value, headers)
        refusals: list[Refusal] = await self._dead_letters.send_batch([copy])
        if refusals:
            raise ParkingFailed(refusals[0].reason)


class TopicReader:
    """Every partition of some topics, from the beginning or from now."""

    def __init__(self, settings: KafkaSettings, topics: Sequence[str]) -> None:
        self._topics = list(topics)
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": "events-reader",  # demanded by the library, never joined: partitions are assigned by hand
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": False,
                "fetch.wait.max.ms": 50,  # how late a lone event may be read
                "log_level": 0,  # an absent broker is answered by an exception, not by lines on a terminal
            }
        )

    async def __aenter__(self) -> "TopicReader":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self._consumer.close)

    async def read_to_end(self, newest: int | None = None) -> AsyncIterator[list[Record]]:
        """Batches up to what was the end when the reading began: all, or the `newest` records of each partition."""
        marks = await asyncio.to_thread(self._marks)
        starts = {
            partition: start if newest is None else max(start, end - newest)
            for partition, (start, end) in marks.items()
        }
        missing = {partition: end for partition, (_, end) in marks.items() if end > starts[partition]}
        # No partition has anything: `consume` would wait for it in vain.
        if not missing:
            return
        self._consumer.assign([TopicPartition(topic, number, starts[topic, number]) for topic, number in missing])
        while missing:
            batch = await self._consume(BATCH_RECORDS_MAX)
            yield [record for record in batch if (record.topic, record.partition) in missing]
            for partition in await asyncio.to_thread(self._reached, missing):
                del missing[partition]

    async def follow(self, *, from_beginning: bool) -> AsyncIterator[list[Record]]:
        """Batches without end; some of them empty, so that the caller may stop between two."""
        marks = await asyncio.to_thread(self._marks)
        self._consumer.assign(
            [
                TopicPartition(topic, number, start if from_beginning else end)
                for (topic, number), (start, end) in marks.items()
            ]
        )
        while True:
            yield await self._consume(BATCH_RECORDS_MAX)

    async def count_thrown_away(self) -> int:
        """Records that retention has taken: they were written, and nobody can read them any more."""
        marks = await asyncio.to_thread(self._marks)
        return sum(start for start, _ in marks.values())

    async def _consume(self, limit: int) -> list[Record]:
        messages = await asyncio.to_thread(self._consumer.consume, limit, _POLL_S)
        return [_record(message) for message in messages]

    def _reached(self, ends: dict[tuple[str, int], int]) -> list[tuple[str, int]]:
        positions = self._consumer.position([TopicPartition(topic, number) for topic, number in ends])
        return [(each.topic, each.partition) for each in positions if each.offset >= ends[each.topic, each.partition]]

    def _partitions(self) -> list[tuple[str, int]]:
        known = self._consumer.list_topics(timeout=_METADATA_S).topics
        if absent := [topic for topic in self._topics if topic not in known]:
            raise TopicsMissing(absent)
        return [(topic, number) for topic in self._topics for number in sorted(known[topic].partitions)]

    def _marks(self) -> dict[tuple[str, int], tuple[int, int]]:
        """First and next offset of every partition."""
        try:
            return {(topic, number): self._marks_of(topic, number) for topic, number in self._partitions()}
        except KafkaException as error:
            raise BrokerUnreachable(str(error)) from error

    def _marks_of(self, topic: str, number: int) -> tuple[int, int]:
        """Asked again while the partition has no leader yet: a topic that was just made, a broker that just started."""
        deadline = time.monotonic() + _METADATA_S
        while True:
            try:
                marks = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_METADATA_S)
            except KafkaException as error:
                if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
                continue
            if marks is None:
                raise BrokerUnreachable(f"no offsets of {topic}/{number} in time")
            return marks
