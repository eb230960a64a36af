"""Read a cell's topics for an operator, and print one event as one line.

Fields are declared here and not imported from the cell: the command may be older or newer than it.
"""

from collections.abc import AsyncIterator
from typing import Any

from infra.runtime.envelope import Envelope, MalformedEnvelope, decode_envelope
from infra.runtime.kafka_consumer import Record, TopicReader
from infra.runtime.settings import KafkaSettings
from infra.topology.topics import cell_topics


def cell_reader(settings: KafkaSettings, cell: str) -> TopicReader:
    """A reader of both topics of a cell."""
    return TopicReader(settings, cell_topics(settings.topic_prefix, cell))


async def newest_events(settings: KafkaSettings, cell: str, limit: int) -> AsyncIterator[Record]:
    """The newest events there are, oldest of them first."""
    found: list[Record] = []
    async with cell_reader(settings, cell) as reader:
        async for batch in reader.read_to_end(newest=limit):
            found.extend(batch)
    # A topic orders the events of one user. Events of several users and topics are ordered by their times.
    found.sort(key=_occurred_at)
    for record in found[-limit:]:
        yield record


async def all_events(settings: KafkaSettings, cell: str, limit: int | None) -> AsyncIterator[Record]:
    """The events that the topics hold now, from the first one, at most `limit`."""
    async with cell_reader(settings, cell) as reader:
        sent = 0
        async for batch in reader.read_to_end():
            for record in batch:
                if limit is not None and sent >= limit:
                    return
                sent += 1
                yield record


async def follow_events(
    settings: KafkaSettings, cell: str, limit: int | None, *, from_beginning: bool
) -> AsyncIterator[Record]:
    """Events as they are published, until `limit`; without one it never ends."""
    async with cell_reader(settings, cell) as reader:
        sent = 0
        async for batch in reader.follow(from_beginning=from_beginning):
            for record in batch:
                yield record
                sent += 1
                if sent == limit:
                    return


def describe(record: Record) -> str:
    """One line for a person. A record that is no event is described too, never skipped."""
    try:
        event = decode_envelope(record.value)
    except MalformedEnvelope as error:
        return f"{record.topic}/{record.partition}@{record.offset}  not an event: {error}"
    at = event.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{at}  {event.type:<24} {event.user_id}  {event.stream} {event.seq:<6} {_facts(event)}"


def _facts(event: Envelope) -> str:
    data: dict[str, Any] = event.data if isinstance(event.data, dict) else {}
    if event.stream == "orders":
        amount = data.get("qty") or data.get("notional")
        text = f"{data.get('side')} {amount} {data.get('symbol')} {data.get('type')}"
        if data.get("limit_price"):
            text += f" {data['limit_price']}"
        if data.get("last_qty"):
            text += f", fill {data['last_qty']} at {data['last_px']}"
        return text
    lines = data.get("postings", [])
    return "; ".join(
        f"{line['account']} {'+' if 'credit' in line else '-'}{line.get('credit') or line.get('debit')} {line['unit']}"
        for line in lines
    )


def _occurred_at(record: Record) -> tuple[str, int]:
    try:
        event = decode_envelope(record.value)
    except MalformedEnvelope:
        return ("", record.offset)
    return (event.occurred_at.isoformat(), event.seq)
