"""Events that a cell has published against records that Kafka ever took: two numbers per topic, no reading.

A relay may publish an event twice, so more records than events are no difference; fewer are events that are nowhere.
The cell is asked first: what it publishes meanwhile only adds records. `shardctl events count` reads them all.
"""

from typing import Any

from infra.runtime.kafka_consumer import TopicReader
from infra.runtime.settings import KafkaSettings
from shardctl.cell_admin import CellAdmin
from shardctl.events.cell_topics import LEDGER_EVENTS, ORDER_EVENTS, topic_name


async def compare_with_kafka(cell: str, admin: CellAdmin, settings: KafkaSettings) -> dict[str, Any]:
    """What the cell surely has published, and what was written. Raises TopicsMissing or BrokerUnreachable."""
    summary = await admin.summary(cell)
    pending = summary["outbox_pending"]  # one row holds at most one event of each kind
    return {
        "asked": True,
        "order_events": max(0, summary["order_events"] - pending),
        "order_records": await _count_written(settings, topic_name(settings, cell, ORDER_EVENTS)),
        "ledger_events": max(0, summary["journal_entries"] - pending),
        "ledger_records": await _count_written(settings, topic_name(settings, cell, LEDGER_EVENTS)),
    }


async def _count_written(settings: KafkaSettings, topic: str) -> int:
    async with TopicReader(settings, [topic]) as reader:
        return await reader.count_written()
