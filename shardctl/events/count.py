"""Count the distinct events in Kafka and in a cell's database, and say whether they are the same.

Kafka is read from the first record to the present end and duplicates are counted apart, because a relay may publish an
event twice. Kafka and the database cannot be read at one moment. So the database is read before and after Kafka: the
numbers belong together only if both readings are the same and nothing waits in the outbox. If the cell wrote meanwhile,
the count is repeated, at most `READINGS_MAX` times; then `at_rest` is false and the result is not equal.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infra.runtime.settings import KafkaSettings
from shardctl.events.published import Heads
from shardctl.events.reading import compare_published

READINGS_MAX = 3
"""Each reads the topics from their first record: some seconds per million events."""
PAUSES_MAX = 10
PAUSE_S = 1.0
"""Between counts. Ten of them (`PAUSES_MAX`) are longer than the last orders take to be filled and published."""


@dataclass(frozen=True)
class KafkaCount:
    """Distinct events, duplicates, and differences as in `EventComparison`."""

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
    """The result of `events count`."""

    cell: str
    kafka: KafkaCount
    database: DatabaseCount
    at_rest: bool
    """The cell wrote and published nothing while Kafka was read."""
    equal: bool


def compare(cell: str, before: DatabaseCount, kafka: KafkaCount, after: DatabaseCount) -> EventsCount:
    """Equal: the cell was at rest, and Kafka has exactly the events that its database has."""
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
    """Compare while the cell writes nothing; a cell that always writes is compared as it is, and never equal.

    Raises what `database` and `kafka` raise.
    """
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
    """The database once its outbox is empty, or after `PAUSES_MAX` pauses: a stopped relay never empties it."""
    found = await database()
    for _ in range(PAUSES_MAX):
        if not found.outbox_pending:
            break
        await sleep(PAUSE_S)
        found = await database()
    return found


async def count_in_kafka(settings: KafkaSettings, cell: str, heads: Callable[[], Awaitable[Heads]]) -> KafkaCount:
    """Raises TopicsMissing, BrokerUnreachable or EventsExpired."""
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
