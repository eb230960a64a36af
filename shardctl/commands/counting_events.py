"""`shardctl events count`: what a cell published, beside the cell's own books."""

import asyncio

from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_consumer import TopicsMissing
from infra.runtime.settings import KafkaSettings
from shardctl.cell_admin import open_cell_admin
from shardctl.commands.brokers import kafka_settings, not_reachable
from shardctl.commands.options import AsJson, CellOption
from shardctl.errors import Refused
from shardctl.events.count import DatabaseCount, EventsCount, KafkaCount, count_at_rest, count_in_kafka
from shardctl.events.reading import EventsExpired, read_heads
from shardctl.output import print_json, print_table
from shardctl.stack.current import open_stack


def count(cell: CellOption, as_json: AsJson = False) -> None:
    """Compare the events in Kafka with the cell's database, while the cell is quiet. Exit code 1: they differ."""
    settings = kafka_settings(cell)
    try:
        found = asyncio.run(_count(settings, cell))
    except (TopicsMissing, BrokerUnreachable, EventsExpired) as error:
        raise not_reachable(error) from error
    if as_json:
        print_json(found)
    else:
        rows = [
            ("order events", found.kafka.order_events, found.database.order_events),
            ("ledger events", found.kafka.ledger_events, found.database.journal_entries),
            ("published twice / not yet published", found.kafka.duplicates, found.database.outbox_pending),
            ("missing / never written", found.kafka.missing, found.kafka.unknown),
            ("broken chain links / not events", found.kafka.broken_links, found.kafka.malformed),
        ]
        print_table((cell, "kafka>", "database>"), rows)
    if not found.at_rest:
        raise Refused(
            f"{cell}: the cell went on writing while events were counted; repeat the command when it is quiet"
        )
    if not found.equal:
        raise Refused(f"{cell}: Kafka and the database differ: `shardctl status`, `shardctl logs {cell}-relay`")


async def _count(settings: KafkaSettings, cell: str) -> EventsCount:
    async with open_cell_admin(open_stack()) as admin:

        async def database() -> DatabaseCount:
            summary = await admin.summary(cell)
            return DatabaseCount(summary["order_events"], summary["journal_entries"], summary["outbox_pending"])

        async def kafka() -> KafkaCount:
            return await count_in_kafka(settings, cell, lambda: read_heads(admin, cell))

        return await count_at_rest(cell, database, kafka)
