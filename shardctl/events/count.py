"""Compare what Kafka holds with what a cell's database says it published.

Kafka is counted from the first record to the present end by distinct event id, because a relay may publish an event
twice. The two cannot be read at one moment, so the database is read before and after Kafka: only if both readings are
the same, and nothing waits in the outbox, do the numbers belong together. A cell that writes meanwhile is counted anew,
a few times; if it never rests, the answer says so and is not called equal.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infra.runtime.envelope import decode_identity
from infra.runtime.kafka_consumer import TopicReader
from infra.runtime.settings import KafkaSettings
from shardctl.events.cell_topics import LEDGER_EVENTS, ORDER_EVENTS, topic_name

READINGS_MAX = 5
PAUSE_S = 1.0
"""Between two readings; orders sent just before are filled and published in less."""


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
    at_rest: bool
    """The database wrote and published nothing while Kafka was read."""
    equal: bool


def compare(cell: str, before: DatabaseCount, kafka: KafkaCount, after: DatabaseCount) -> EventsCount:
    """Equal: the cell rested, every event of its database is in Kafka, and Kafka has no other."""
    at_rest = before == after
    equal = (
        at_rest
        and kafka.order_events == after.order_events
        and kafka.ledger_events == after.journal_entries
        and after.outbox_pending == 0
    )
    return EventsCount(cell, kafka, after, at_rest, equal)


async def count_at_rest(
    cell: str,
    database: Callable[[], Awaitable[DatabaseCount]],
    kafka: Callable[[], Awaitable[KafkaCount]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> EventsCount:
    """Compare once the cell has nothing on its way; after `READINGS_MAX` readings, as it is."""
    found = compare(cell, await database(), await kafka(), await database())
    for _ in range(READINGS_MAX - 1):
        if found.at_rest and not found.database.outbox_pending:
            break
        await sleep(PAUSE_S)
        found = compare(cell, await database(), await kafka(), await database())
    return found


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
