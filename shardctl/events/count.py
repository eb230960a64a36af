"""Compare what Kafka holds with what a cell's database says it published, event by event, and count them.

Kafka is counted from the first record to the present end by distinct event id, because a relay may publish an event
twice. The two cannot be read at one moment, so the database is read before and after Kafka: only if both readings are
the same, and nothing waits in the outbox, do the numbers belong together. A cell that writes meanwhile is counted anew,
a few times; if it never rests, the answer says so and is not called equal.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infra.runtime.settings import KafkaSettings
from shardctl.events.published import Heads
from shardctl.events.reading import compare_published

READINGS_MAX = 3
"""Of Kafka, each from its first record: a million events take some seconds."""
PAUSES_MAX = 10
PAUSE_S = 1.0
"""For what is on its way: orders sent just before are filled and published in less than the whole of it."""


@dataclass(frozen=True)
class KafkaCount:
    """Distinct events, copies beside them, and what is wrong with them (`Published`)."""

    order_events: int
    ledger_events: int
    duplicates: int
    missing: int = 0
    unknown: int = 0
    broken_links: int = 0
    malformed: int = 0

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.unknown or self.broken_links or self.malformed)


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
    """Equal: the cell rested, and the events that its database has are in Kafka, those and no others."""
    at_rest = before == after
    equal = (
        at_rest
        and kafka.is_whole
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
    """Compare while the cell has nothing on its way; if it always has, as it is."""
    readings = 0
    while True:
        before = await _without_backlog(database, sleep)
        found = compare(cell, before, await kafka(), await database())
        readings += 1
        if found.at_rest or readings == READINGS_MAX:
            return found
        await sleep(PAUSE_S)


async def _without_backlog(
    database: Callable[[], Awaitable[DatabaseCount]], sleep: Callable[[float], Awaitable[None]]
) -> DatabaseCount:
    """The database once its outbox is empty; a relay that does not empty it is not waited for for ever."""
    found = await database()
    for _ in range(PAUSES_MAX):
        if not found.outbox_pending:
            break
        await sleep(PAUSE_S)
        found = await database()
    return found


async def count_in_kafka(settings: KafkaSettings, cell: str, heads: Callable[[], Awaitable[Heads]]) -> KafkaCount:
    """Raises TopicsMissing, BrokerUnreachable or EventsThrownAway."""
    found = await compare_published(settings, cell, heads)
    return KafkaCount(
        order_events=found.order_events,
        ledger_events=found.ledger_events,
        duplicates=found.duplicates,
        missing=found.missing,
        unknown=found.unknown,
        broken_links=found.broken_links,
        malformed=found.malformed,
    )
