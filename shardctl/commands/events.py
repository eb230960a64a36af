"""`shardctl events ...`: look at what a cell published, and compare it with the cell's own books."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import typer

from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_consumer import Record, TopicsMissing
from infra.runtime.settings import KafkaSettings
from shardctl.cell_admin import open_cell_admin
from shardctl.errors import NotReachable, Refused
from shardctl.events.cell_topics import all_events, describe, follow_events, newest_events
from shardctl.events.count import DatabaseCount, EventsCount, KafkaCount, count_at_rest, count_in_kafka
from shardctl.events.reading import EventsExpired, read_heads
from shardctl.output import print_json, print_table
from shardctl.stack.current import kafka_of, open_stack

app = typer.Typer(help="Events of a cell in Kafka: show, follow, count.", no_args_is_help=True)

NEWEST_DEFAULT = 20
"""Events that `tail` shows when no limit is given: one screen."""

CellName = Annotated[str, typer.Option("--cell", "-c", help="Name of a cell, as cell-1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def tail(
    cell: CellName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new events until Ctrl-C.")] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest event that Kafka has.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many events.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest 20 events of a cell, oldest first; or all of them, or new ones. --json: one per line, as published."""
    settings = _kafka_settings(cell)
    events = _events(settings, cell, follow=follow, from_beginning=from_beginning, limit=limit)
    try:
        asyncio.run(_print(events, as_json=as_json))
    except KeyboardInterrupt:
        pass  # the ordinary end of --follow
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (TopicsMissing, BrokerUnreachable) as error:
        raise _not_reachable(error) from error


@app.command()
def count(cell: CellName, as_json: AsJson = False) -> None:
    """Compare the events in Kafka with the cell's database, while the cell is quiet. Exit code 1: they differ."""
    settings = _kafka_settings(cell)
    try:
        found = asyncio.run(_count(settings, cell))
    except (TopicsMissing, BrokerUnreachable, EventsExpired) as error:
        raise _not_reachable(error) from error
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


def _kafka_settings(cell: str) -> KafkaSettings:
    stack = open_stack()
    names = [known.name for known in stack.spec().cells]
    if cell not in names:
        raise Refused(f"there is no cell {cell}; there are: {', '.join(names)}")
    return kafka_of(stack)


def _events(
    settings: KafkaSettings, cell: str, *, follow: bool, from_beginning: bool, limit: int | None
) -> AsyncIterator[Record]:
    if follow:
        return follow_events(settings, cell, limit, from_beginning=from_beginning)
    if from_beginning:
        return all_events(settings, cell, limit)
    return newest_events(settings, cell, limit or NEWEST_DEFAULT)


async def _print(events: AsyncIterator[Record], *, as_json: bool) -> None:
    async for record in events:
        sys.stdout.write((_json_line(record) if as_json else describe(record)) + "\n")
        sys.stdout.flush()


def _json_line(record: Record) -> str:
    """The event byte for byte. A record that is not JSON is wrapped, so that every line can be parsed."""
    try:
        msgspec.json.decode(record.value, type=msgspec.Raw)
    except msgspec.DecodeError:
        return msgspec.json.encode({"malformed": record.value}).decode()
    return record.value.decode()


async def _count(settings: KafkaSettings, cell: str) -> EventsCount:
    async with open_cell_admin(open_stack()) as admin:

        async def database() -> DatabaseCount:
            summary = await admin.summary(cell)
            return DatabaseCount(summary["order_events"], summary["journal_entries"], summary["outbox_pending"])

        async def kafka() -> KafkaCount:
            return await count_in_kafka(settings, cell, lambda: read_heads(admin, cell))

        return await count_at_rest(cell, database, kafka)


def _not_reachable(error: Exception) -> NotReachable:
    return NotReachable(f"Kafka: {error}: `shardctl status`, `shardctl logs kafka`")
