"""Compare what Kafka holds with what a cell's database says it published.

Kafka is counted from the first record to the present end by distinct event id, because a relay may publish an event
twice. Exact while nothing is being written; under load the two are read a moment apart, so ask again when it is quiet.
"""

from dataclasses import dataclass

from infra.runtime.envelope import decode_identity
from infra.runtime.kafka_consumer import TopicReader
from infra.runtime.settings import KafkaSettings
from shardctl.events.cell_topics import LEDGER_EVENTS, ORDER_EVENTS, topic_name


@dataclass(frozen=True)
class KafkaCount:
    order_events: int
    ledger_events: int
    duplicates: int


@dataclass(frozen=True)
class DatabaseCount:
    order_events: int
    journal_entries: int
    outbox_pending: int


@dataclass(frozen=True)
class EventsCount:
    """The answer of `events count`."""

    cell: str
    kafka: KafkaCount
    database: DatabaseCount
    equal: bool


def compare(cell: str, kafka: KafkaCount, database: DatabaseCount) -> EventsCount:
    """Equal: every event of the database is in Kafka, none is waiting, and Kafka has no other."""
    equal = (
        kafka.order_events == database.order_events
        and kafka.ledger_events == database.journal_entries
        and database.outbox_pending == 0
    )
    return EventsCount(cell, kafka, database, equal)


async def count_in_kafka(settings: KafkaSettings, cell: str) -> KafkaCount:
    order_events, order_copies = await _distinct(settings, topic_name(settings, cell, ORDER_EVENTS))
    ledger_events, ledger_copies = await _distinct(settings, topic_name(settings, cell, LEDGER_EVENTS))
    return KafkaCount(order_events, ledger_events, order_copies + ledger_copies)


async def _distinct(settings: KafkaSettings, topic: str) -> tuple[int, int]:
    """Distinct events, and how many copies came beside them."""
    seen: set[bytes] = set()
    records = 0
    async with TopicReader(settings, [topic]) as reader:
        async for batch in reader.read_to_end():
            records += len(batch)
            # Sixteen bytes instead of the text: a million events fit into some 70 MB.
            seen.update(bytes.fromhex(decode_identity(record.value).event_id.replace("-", "")) for record in batch)
    return len(seen), records - len(seen)
