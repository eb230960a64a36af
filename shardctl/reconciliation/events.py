"""Compare the events that a cell has published with those in Kafka, one by one, as a part of a reconciliation.

A relay may publish an event twice: a duplicate is no difference, and never stands for a missing event. The cell may
trade meanwhile: what it had published before Kafka is read must be there.
"""

from typing import Any

from infra.runtime.settings import KafkaSettings
from shardctl.cell_admin import CellAdmin
from shardctl.events.published import Heads
from shardctl.events.reading import compare_published, read_heads


async def compare_with_kafka(cell: str, admin: CellAdmin, settings: KafkaSettings) -> dict[str, Any]:
    """The part `events` of a run, as the cell keeps it. Raises TopicsMissing, BrokerUnreachable, EventsExpired and what
    `read_heads` raises."""
    before: Heads = {}

    async def heads() -> Heads:
        nonlocal before
        found = await read_heads(admin, cell)
        before = before or found
        return found

    found = await compare_published(settings, cell, heads)
    return {
        "asked": True,
        "order_events": sum(head.orders_here for head in before.values()),
        "order_records": found.order_events,
        "ledger_events": sum(head.ledger_here for head in before.values()),
        "ledger_records": found.ledger_events,
        "copies": found.duplicates,
        "missing": found.missing,
        "unknown": found.unknown,
        "broken_links": found.broken_links,
        "malformed": found.malformed,
        "sample": list(found.sample),
    }
