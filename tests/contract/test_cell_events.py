"""What a cell writes to Kafka and what the operators' command reads: two declarations that must say the same."""

from typing import Any

import msgspec

from cell.outbox.event_types import LedgerEventData, PostingData, ledger_envelope, order_envelope
from infra.runtime.envelope import encode_envelope
from infra.runtime.kafka_consumer import Record
from shardctl.events.cell_topics import describe
from tests.unit.cell_outbox.test_relay import hold_entry, order_step, row


def test_the_command_can_read_what_the_cell_writes() -> None:
    written = row(5, "00000000-0000-4000-8000-000000000001")
    order = line(encode_envelope(order_envelope("cell-1", written, order_step(5))))
    assert "order.funds_held" in order
    assert "buy 1.500000 AAPL limit 190.010000" in order
    ledger = line(encode_envelope(ledger_envelope("cell-1", written, hold_entry(5))))
    assert "ledger.hold" in ledger
    assert "cash -285.015000 USD; cash_held +285.015000 USD" in ledger


def test_the_command_shows_what_it_cannot_read() -> None:
    assert "not an event" in line(b"\x00")


def test_an_entry_speaks_like_the_ledger_endpoint() -> None:
    """`GET /v1/ledger` and the event tell a posting in the same words."""
    names = {field.encode_name for field in msgspec.structs.fields(PostingData)}
    assert names == {"account", "unit", "debit", "credit"}
    entry: dict[str, Any] = {field.encode_name: field for field in msgspec.structs.fields(LedgerEventData)}
    assert {"entry_id", "kind", "postings", "hash", "previous_hash"} <= set(entry)


def line(value: bytes) -> str:
    return describe(Record("cell-1.order-events", 0, 0, b"k", value, []))
