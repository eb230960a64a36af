"""What the rollups must say, counted again from the events, row by row and in Python: no SQL of it is shared."""

from collections import defaultdict
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection


@dataclass
class Counted:
    orders: int = 0
    fills: int = 0
    rejects: int = 0
    taken_back: int = 0
    volume_exact: int = 0


Key = tuple[datetime, str]
Figures = tuple[dict[Key, tuple[int, ...]], dict[datetime, tuple[int, int]]]
"""Per minute and symbol; and per minute the cash in and out."""

_EVENTS = """
select e.at, o.symbol, e.seq, e.from_status, e.to_status, e.exec_id, e.reason, e.last_qty_micros, e.last_px_micros
  from all_order_events e join brokerage.orders o using (user_id, order_id)
 where not exists (select from brokerage.outbox b where b.user_id = e.user_id and b.order_id = e.order_id
                                                    and b.order_event_seq = e.seq)
"""
_CASH = """
select j.occurred_at, p.direction, p.amount_micros
  from all_journal_entries j
  join all_postings p on p.user_id = j.user_id and p.entry_seq = j.seq and p.account = 'bank'
 where not exists (select from brokerage.outbox b where b.user_id = j.user_id and b.entry_seq = j.seq)
"""


async def recounted(connection: AsyncConnection[Any]) -> Figures:
    """Of every event that is not in the outbox any more."""
    counted: dict[Key, Counted] = defaultdict(Counted)
    for at, symbol, seq, before, after, exec_id, reason, qty, px in await _rows(connection, _EVENTS):
        one = Counted()
        one.orders = int(seq == 3 and before == "validated")
        one.rejects = int(after == "rejected" and before != "rejected")
        if exec_id is not None and reason in ("fill", "late fill"):
            one.fills, one.volume_exact = 1, qty * px
        if exec_id is not None and reason in ("bust", "correction"):
            one.taken_back = 1
        if any(astuple(one)):
            total = counted[_minute(at), symbol]
            for name in vars(total):
                setattr(total, name, getattr(total, name) + getattr(one, name))
    cash: dict[datetime, tuple[int, int]] = {}
    for at, direction, amount in await _rows(connection, _CASH):
        come, gone = cash.get(_minute(at), (0, 0))
        is_in = direction == "debit"
        cash[_minute(at)] = (come + amount * is_in, gone + amount * (not is_in))
    return {key: astuple(value) for key, value in counted.items()}, cash


async def stored(connection: AsyncConnection[Any]) -> Figures:
    """The same figures as the relay counted them; raises AssertionError if minutes and symbols do not add up."""
    by_symbol = {
        (minute, symbol): (*figures, int(volume))
        for minute, symbol, *figures, volume in await _rows(
            connection,
            "select minute, symbol, orders, fills, rejects, taken_back, volume_exact from brokerage.symbol_rollups",
        )
    }
    sums: dict[datetime, tuple[int, ...]] = {}
    for (minute, _), figures in by_symbol.items():
        sums[minute] = tuple(a + b for a, b in zip(sums.get(minute, (0,) * 5), figures, strict=True))
    minutes = await _rows(
        connection,
        "select minute, orders, fills, rejects, taken_back, volume_exact, cash_in_micros, cash_out_micros "
        "from brokerage.rollups",
    )
    for minute, *figures, _, _ in minutes:
        assert sums.get(minute, (0,) * 5) == tuple(map(int, figures)), minute
    assert sums.keys() <= {minute for minute, *_ in minutes}
    return by_symbol, {minute: (come, gone) for minute, *_, come, gone in minutes if come or gone}


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


async def _rows(connection: AsyncConnection[Any], query: Any) -> list[Any]:
    return await (await connection.execute(query)).fetchall()
