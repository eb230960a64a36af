"""Read all of a cell's topics and compare them with its heads, taken before and after.

What the cell had published before the reading began must be found, and what is found must have been written by the time
it ended. So the cell may write meanwhile. Topics are read from their first record: if retention has deleted records,
`EventsExpired` is raised, because a comparison with a part of the events proves nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import UUID

from infra.runtime.kafka_consumer import TopicReader
from infra.runtime.settings import KafkaSettings
from infra.topology.topics import LEDGER_EVENTS, ORDER_EVENTS, cell_topic
from shardctl.cell_admin import CellAdmin
from shardctl.events.event import LEDGER, ORDERS
from shardctl.events.published import EventCollector, EventComparison, Head, Heads

_PATH: Final = "/operator/v1/reconciliations/event-heads"
_ELSEWHERE: Final = "elsewhere"
"""Of numbers that other cells have published."""


class EventsExpired(Exception):
    """The broker's retention has deleted the first records of a topic."""

    def __init__(self, topic: str, records: int) -> None:
        super().__init__(f"{topic}: retention has deleted its first {records} records")


async def compare_published(
    settings: KafkaSettings, cell: str, heads: Callable[[], Awaitable[Heads]]
) -> EventComparison:
    """Raises TopicsMissing, BrokerUnreachable, EventsExpired, and what `heads` raises."""
    collected = EventCollector(cell, await heads())
    await _read_all(settings, cell, collected.add)
    if collected.has_copies:
        await _read_all(settings, cell, collected.add_again)
    return collected.compare(await heads())


async def _read_all(settings: KafkaSettings, cell: str, add: Callable[[str, bytes | None, bytes], None]) -> None:
    for stream, name in ((ORDERS, ORDER_EVENTS), (LEDGER, LEDGER_EVENTS)):
        topic = cell_topic(settings.topic_prefix, cell, name)
        async with TopicReader(settings, [topic]) as reader:
            if (gone := await reader.count_thrown_away()) > 0:
                raise EventsExpired(topic, gone)
            async for batch in reader.read_to_end():
                for record in batch:
                    add(stream, record.key, record.value)


async def read_heads(admin: CellAdmin, cell: str) -> dict[bytes, Head]:
    """The head of every user of the cell, page by page. One page is one snapshot; all pages together are not. Raises
    NotReachable, Refused."""
    return {UUID(row["user_id"]).bytes: head_of(row) async for row in admin.rows(cell, _PATH)}


def head_of(row: dict[str, Any]) -> Head:
    """Of a row as the cell tells it. Pure."""
    return Head(
        orders=row["orders_published"],
        ledger=row["ledger_published"],
        chain_head=row["published_chain_head"] or "",  # nothing published yet
        orders_written=row["order_event_seq"],
        ledger_written=row["entry_seq"],
        lost_orders=_lost(row, ORDERS),
        lost_ledger=_lost(row, LEDGER),
        continued_ledger=frozenset(
            last + 1 for name, _, last, *how in _told(row) if name == LEDGER and how == [_ELSEWHERE]
        ),
    )


def _lost(row: dict[str, Any], stream: str) -> tuple[tuple[int, int], ...]:
    return tuple((first, last) for name, first, last, *_ in _told(row) if name == stream)


def _told(row: dict[str, Any]) -> Sequence[Sequence[Any]]:
    """Stream, first and last number, and how they came to be missing. A cell of an older release says nothing of it."""
    return row.get("lost") or ()
