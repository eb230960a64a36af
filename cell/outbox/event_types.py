"""What this cell publishes: two streams, and what stands in the `data` of their events.

Pure: from a claimed row to the envelopes of its events, in the wire words of the API. Money and quantities are decimal
strings. A field may be added under the same version; a changed meaning needs a new one, because readers of two releases
listen at once. An event says what happened then, never what is true now: an order's terms are those it was placed with.
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from cell.money import format_micros
from infra.runtime.envelope import Envelope, event_id

ORDER_STREAM = "orders"
LEDGER_STREAM = "ledger"
VERSION = 1


class OrderEventData(msgspec.Struct, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """One step of an order: type `order.<to>`."""

    order_id: str
    client_order_id: str | None
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: str | None
    notional: str | None
    limit_price: str | None
    stop_price: str | None
    order_seq: int
    """Number of the step within the order, as in `GET /v1/orders/{id}/events`."""
    from_status: str
    to_status: str
    reason: str | None
    at: datetime
    exec_id: str | None
    last_qty: str | None
    last_px: str | None
    cum_qty: str
    cum_cost: str


class PostingData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an entry: `debit` or `credit`, never both."""

    account: str
    unit: str
    debit: str | None = None
    credit: str | None = None


class LedgerEventData(msgspec.Struct, frozen=True, kw_only=True):
    """One journal entry: type `ledger.<kind>`. Hashes are hexadecimal."""

    entry_id: str
    kind: str
    order_id: str | None
    postings: list[PostingData]
    hash: str
    previous_hash: str


@dataclass(frozen=True, slots=True)
class OrderStep:
    """An order event and the terms of its order, as stored."""

    order_id: str
    client_order_id: str | None
    symbol: str
    side: str
    type: str
    time_in_force: str
    order_qty_micros: int | None
    notional_micros: int | None
    limit_px_micros: int | None
    stop_px_micros: int | None
    seq: int
    stream_seq: int
    from_status: str
    to_status: str
    reason: str | None
    at: datetime
    exec_id: str | None
    last_qty_micros: int | None
    last_px_micros: int | None
    cum_qty_micros: int
    cum_cost_micros: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry, as stored; the postings column by column, in order of line."""

    seq: int
    entry_id: str
    kind: str
    order_id: str | None
    occurred_at: datetime
    hash: bytes
    previous_hash: bytes
    accounts: list[str]
    units: list[str]
    directions: list[str]
    amounts_micros: list[int]


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One write that was not published yet, with the immutable rows it refers to."""

    id: int
    user_id: str
    write_seq: int
    epoch: int
    step: OrderStep | None
    entry: Entry | None


def _optional_text(micros: int | None) -> str | None:
    return None if micros is None else format_micros(micros)


def order_envelope(cell: str, row: OutboxRow, step: OrderStep) -> Envelope:
    return Envelope(
        event_id=event_id(row.user_id, ORDER_STREAM, step.stream_seq),
        type=f"order.{step.to_status}",
        version=VERSION,
        cell=cell,
        user_id=row.user_id,
        epoch=row.epoch,
        stream=ORDER_STREAM,
        seq=step.stream_seq,
        write_seq=row.write_seq,
        occurred_at=step.at,
        data=OrderEventData(
            order_id=step.order_id,
            client_order_id=step.client_order_id,
            symbol=step.symbol,
            side=step.side,
            type=step.type,
            time_in_force=step.time_in_force,
            qty=_optional_text(step.order_qty_micros),
            notional=_optional_text(step.notional_micros),
            limit_price=_optional_text(step.limit_px_micros),
            stop_price=_optional_text(step.stop_px_micros),
            order_seq=step.seq,
            from_status=step.from_status,
            to_status=step.to_status,
            reason=step.reason,
            at=step.at,
            exec_id=step.exec_id,
            last_qty=_optional_text(step.last_qty_micros),
            last_px=_optional_text(step.last_px_micros),
            cum_qty=format_micros(step.cum_qty_micros),
            cum_cost=format_micros(step.cum_cost_micros),
        ),
    )


def ledger_envelope(cell: str, row: OutboxRow, entry: Entry) -> Envelope:
    lines = zip(entry.accounts, entry.units, entry.directions, entry.amounts_micros, strict=True)
    return Envelope(
        event_id=event_id(row.user_id, LEDGER_STREAM, entry.seq),
        type=f"ledger.{entry.kind}",
        version=VERSION,
        cell=cell,
        user_id=row.user_id,
        epoch=row.epoch,
        stream=LEDGER_STREAM,
        seq=entry.seq,
        write_seq=row.write_seq,
        occurred_at=entry.occurred_at,
        data=LedgerEventData(
            entry_id=entry.entry_id,
            kind=entry.kind,
            order_id=entry.order_id,
            postings=[_posting(*line) for line in lines],
            hash=entry.hash.hex(),
            previous_hash=entry.previous_hash.hex(),
        ),
    )


def _posting(account: str, unit: str, direction: str, amount_micros: int) -> PostingData:
    text = format_micros(amount_micros)
    if direction == "debit":
        return PostingData(account=account, unit=unit, debit=text)
    return PostingData(account=account, unit=unit, credit=text)
