"""Take the oldest unpublished rows, with everything that is published about them.

Reads only. Rows come in order of id, and ids are drawn under the user's lock that is held to commit: for one user this
is the order of commits, without gaps in what is visible. Across users it is no order, and none is promised. There is no
cursor: what is not deleted is not published, so a row that commits late is found late, never skipped.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from cell.outbox.event_types import Entry, OrderStep, OutboxRow
from cell.rows import fetch_rows, field_names
from infra.runtime.database import Connection

BATCH_ROWS_MAX = 1_000
"""One batch is at most two thousand messages, about a megabyte, and a few milliseconds to read."""

_CLAIM: Final[LiteralString] = """
with batch as materialized (
    select id, user_id, write_seq, epoch, order_id, order_event_seq, entry_seq
      from brokerage.outbox where user_id <> all (%s::uuid[]) order by id limit %s
)
select b.id, b.user_id::text, b.write_seq, b.epoch, b.order_event_seq, b.entry_seq,
       e.order_id::text, o.client_order_id, o.symbol, o.side, o.type, o.time_in_force,
       coalesce(e.order_qty_micros, o.order_qty_micros) as order_qty_micros, o.notional_micros, o.limit_px_micros,
       o.stop_px_micros,
       e.seq, e.stream_seq, e.from_status, e.to_status, e.reason, e.at,
       e.exec_id, e.last_qty_micros, e.last_px_micros, e.cum_qty_micros, e.cum_cost_micros,
       j.seq, j.entry_id::text, j.kind, j.order_id::text, j.occurred_at, j.hash, j.previous_hash,
       p.accounts, p.units, p.directions, p.amounts_micros
  from batch b
  left join brokerage.order_events e
    on e.user_id = b.user_id and e.order_id = b.order_id and e.seq = b.order_event_seq
  left join brokerage.orders o on o.user_id = e.user_id and o.order_id = e.order_id
  left join brokerage.journal_entries j on j.user_id = b.user_id and j.seq = b.entry_seq
  left join lateral (
        select array_agg(account order by line) as accounts, array_agg(unit order by line) as units,
               array_agg(direction order by line) as directions,
               array_agg(amount_micros order by line) as amounts_micros
          from brokerage.postings where user_id = j.user_id and entry_seq = j.seq
       ) p on true
 order by b.id
"""

_BACKLOG = """
select (select count(*) from (select from brokerage.outbox limit 1000000) as counted),
       (select extract(epoch from clock_v1() - occurred_at)::float8 from brokerage.outbox order by id limit 1)
"""


_ROW: Final = ("id", "user_id", "write_seq", "epoch", "order_event_seq", "entry_seq")
_STEP: Final = field_names(OrderStep)
_ENTRY: Final = field_names(Entry)
_COLUMNS: Final = (*_ROW, *_STEP, *_ENTRY)


class BrokenReference(Exception):
    """An outbox row names an event or an entry that is not there: the books are damaged, nothing may be guessed."""


@dataclass(frozen=True)
class Backlog:
    """How far publication is behind; `rows` stops counting at a million."""

    rows: int
    oldest_age_s: float


async def claim_batch(
    connection: Connection, limit: int = BATCH_ROWS_MAX, *, passed_over: Collection[str] = ()
) -> list[OutboxRow]:
    """The next rows to publish, oldest first, but for those of users who are passed over: they take nobody's place.
    Raises BrokenReference."""
    rows = await fetch_rows(connection, _CLAIM, [list(passed_over), limit], _COLUMNS)
    return [_row(columns) for columns in rows]


async def read_backlog(connection: Connection) -> Backlog:
    row = await (await connection.execute(_BACKLOG)).fetchone()
    assert row is not None
    return Backlog(rows=row[0], oldest_age_s=max(0.0, row[1] or 0.0))


def _row(columns: tuple[Any, ...]) -> OutboxRow:
    outbox_id, user_id, write_seq, epoch, order_event_seq, entry_seq = columns[: len(_ROW)]
    step_columns, entry_columns = columns[len(_ROW) : -len(_ENTRY)], columns[-len(_ENTRY) :]
    if (order_event_seq is not None and None in (step_columns[0], step_columns[2])) or (
        entry_seq is not None and None in (entry_columns[0], entry_columns[-1])
    ):
        raise BrokenReference(f"outbox row {outbox_id} of user {user_id} refers to a missing event, entry or posting")
    step = OrderStep(*step_columns) if order_event_seq is not None else None
    entry = Entry(*entry_columns) if entry_seq is not None else None
    return OutboxRow(outbox_id, user_id, write_seq, epoch, step, entry)
