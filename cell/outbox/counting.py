"""What a batch of outbox rows told, by minute of the events' own time and by symbol. Pure.

The relay has read these rows to publish them, so the books need not be asked again. The procedure that deletes takes
these counts only if it deleted exactly these rows; otherwise it counts what it did delete from the books, by the same
rules (`count_events_v1`).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from cell.outbox.event_types import Entry, OrderStep, OutboxRow

_FILLS: Final = frozenset(["fill", "late fill"])
_TAKEN_BACK: Final = frozenset(["bust", "correction"])
_ACCEPTED: Final = (3, "validated")
"""Number and origin of an accepted order's first stored step."""
_MINUTE_S: Final = 60
"""Seconds; a rollup's row is a minute."""


class OrderCounts(msgspec.Struct):
    """Of one minute and symbol. `minute_s` since 1970; `volume_exact` in 1e-12 dollars."""

    minute_s: int
    symbol: str
    orders: int = 0
    fills: int = 0
    rejects: int = 0
    taken_back: int = 0
    qty_micros: int = 0
    volume_exact: int = 0


class CashCounts(msgspec.Struct):
    """Of one minute: what came from customers' banks, and what went there."""

    minute_s: int
    in_micros: int = 0
    out_micros: int = 0


class Counts(msgspec.Struct, frozen=True):
    orders: list[OrderCounts]
    cash: list[CashCounts]


def count_rows(rows: Iterable[OutboxRow]) -> Counts:
    by_symbol: dict[tuple[int, str], OrderCounts] = {}
    by_minute: dict[int, CashCounts] = {}
    for row in rows:
        if row.step is not None:
            _count_step(by_symbol, row.step)
        elif row.entry is not None:
            _count_cash(by_minute, row.entry)
    return Counts(list(by_symbol.values()), list(by_minute.values()))


def _count_step(counts: dict[tuple[int, str], OrderCounts], step: OrderStep) -> None:
    is_order = (step.seq, step.from_status) == _ACCEPTED
    is_reject = step.to_status == "rejected" and step.from_status != "rejected"
    is_fill = step.exec_id is not None and step.reason in _FILLS
    is_taken_back = step.exec_id is not None and step.reason in _TAKEN_BACK
    if not (is_order or is_reject or is_fill or is_taken_back):
        return
    minute_s = int(step.at.timestamp()) // _MINUTE_S * _MINUTE_S
    count = counts.setdefault((minute_s, step.symbol), OrderCounts(minute_s, step.symbol))
    count.orders += is_order
    count.rejects += is_reject
    count.taken_back += is_taken_back
    if is_fill:
        qty, px = step.last_qty_micros or 0, step.last_px_micros or 0
        count.fills += 1
        count.qty_micros += qty
        count.volume_exact += qty * px


def _count_cash(counts: dict[int, CashCounts], entry: Entry) -> None:
    for account, direction, amount in zip(entry.accounts, entry.directions, entry.amounts_micros, strict=True):
        if account == "bank":
            minute_s = int(entry.occurred_at.timestamp()) // _MINUTE_S * _MINUTE_S
            count = counts.setdefault(minute_s, CashCounts(minute_s))
            if direction == "debit":
                count.in_micros += amount
            else:
                count.out_micros += amount
