"""A claimed batch as messages, and which of its rows may go after Kafka's answers. Pure."""

from dataclasses import dataclass

from cell.outbox.event_types import (
    OutboxRow,
    ledger_envelope,
    order_envelope,
)
from infra.runtime.envelope import encode_envelope, partition_key
from infra.runtime.kafka_producer import OutgoingMessage, Refusal
from infra.topology.topics import cell_topics


@dataclass(frozen=True)
class Prepared:
    """A batch as messages, and which row each message belongs to."""

    messages: list[OutgoingMessage]
    row_of_message: list[int]


def prepare(rows: list[OutboxRow], *, cell: str, topic_prefix: str) -> Prepared:
    """The messages of a batch, in order of row."""
    order_topic, ledger_topic = cell_topics(topic_prefix, cell)
    messages: list[OutgoingMessage] = []
    row_of_message: list[int] = []
    for index, row in enumerate(rows):
        key = partition_key(row.user_id)
        if row.step is not None:
            body = encode_envelope(order_envelope(cell, row, row.step))
            messages.append(OutgoingMessage(order_topic, key, body))
            row_of_message.append(index)
        if row.entry is not None:
            body = encode_envelope(ledger_envelope(cell, row, row.entry))
            messages.append(OutgoingMessage(ledger_topic, key, body))
            row_of_message.append(index)
    return Prepared(messages, row_of_message)


def refused_users(rows: list[OutboxRow], prepared: Prepared, refusals: list[Refusal]) -> set[str]:
    """Whose events were refused."""
    return {rows[prepared.row_of_message[refusal.index]].user_id for refusal in refusals}


def confirmed_rows(rows: list[OutboxRow], prepared: Prepared, refusals: list[Refusal]) -> list[OutboxRow]:
    """The rows to delete: all but the refused ones and what follows them for the same user."""
    if not refusals:
        return rows
    refused_rows = {prepared.row_of_message[refusal.index] for refusal in refusals}
    stopped_users: set[str] = set()
    confirmed = []
    for index, row in enumerate(rows):
        if index in refused_rows:
            stopped_users.add(row.user_id)
        # What follows a refused row of the same user would overtake it.
        if row.user_id not in stopped_users:
            confirmed.append(row)
    return confirmed
