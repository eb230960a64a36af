"""`shardctl events tail`: what a cell publishes."""

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
from shardctl.commands.brokers import kafka_settings, not_reachable
from shardctl.commands.options import AsJson, CellOption
from shardctl.events.cell_topics import all_events, describe, follow_events, newest_events

NEWEST_DEFAULT = 20
"""Events that `tail` shows when no limit is given: one screen."""


def tail(
    cell: CellOption,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new events until Ctrl-C.")] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest event that Kafka has.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many events.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest 20 events of a cell, oldest first; or all of them, or new ones. --json: one per line, as published."""
    settings = kafka_settings(cell)
    events = _events(settings, cell, follow=follow, from_beginning=from_beginning, limit=limit)
    try:
        asyncio.run(_print(events, as_json=as_json))
    except KeyboardInterrupt:
        pass  # the ordinary end of --follow
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (TopicsMissing, BrokerUnreachable) as error:
        raise not_reachable(error) from error


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
