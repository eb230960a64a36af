"""Statements of reconciling: the venue's orders against ours, and the record of every run.

They raise what the driver raises: `app.py` answers that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from infra.runtime.database import Pool


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """What the venue says of one order; cost in 1e-12 dollars, None if it does not know."""

    order_id: UUID
    session: str
    is_open: bool
    cum_qty: int
    cum_cost: str | None
    executions: int


# Ours are the orders between two ids, so that one which the venue never mentions is found too, and those it names.
# A row of another session is another cell's customer, unless the user lives here now; who left is the next cell's.
_DIFFERENCES: LiteralString = """
with named_by_venue as (
    select * from unnest(%(ids)s::uuid[], %(sessions)s::text[], %(opens)s::boolean[], %(qtys)s::bigint[],
                         %(costs)s::numeric[], %(counts)s::bigint[])
        as t (order_id, session, is_open, cum_qty, cum_cost, executions)
),
named as (
    select order_id from brokerage.orders where order_id > %(after)s and order_id <= %(until)s
    union
    select order_id from named_by_venue
),
ours as (
    select o.order_id, o.user_id, o.symbol, o.side, o.status, o.cum_qty_micros, o.cum_cost_exact,
           o.status not in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed') as is_open,
           (select count(*) from all_executions x
             where x.user_id = o.user_id and x.order_id = o.order_id) as executions
      from named n
      join brokerage.orders o on o.order_id = n.order_id
      join brokerage.users u on u.user_id = o.user_id and u.owner_state in ('active', 'halted')
)
select d.* from (
    select coalesce(o.order_id, t.order_id) as order_id, o.user_id, o.symbol, o.side, o.status,
           case
               when o.order_id is null then
                   case when t.session = %(session)s and not exists (
                             select from brokerage.orders l join brokerage.users u on u.user_id = l.user_id
                              where l.order_id = t.order_id and u.owner_state = 'departed')
                        then 'the cell does not know the order' end
               when t.order_id is null then
                   case when o.executions > 0
                          or o.status in ('routed', 'partially_filled', 'pending_cancel', 'pending_replace')
                        then 'the venue does not know the order' end
               when t.cum_qty <> o.cum_qty_micros then 'another quantity is filled'
               when t.cum_cost <> o.cum_cost_exact then 'filled at another cost'
               when t.executions <> o.executions then 'another number of executions'
               when t.is_open and not o.is_open then 'open at the venue, ended here'
               when o.is_open and not t.is_open then 'ended at the venue, open here'
           end as problem,
           o.cum_qty_micros as our_qty, t.cum_qty as venue_qty, o.cum_cost_exact::text as our_cost,
           t.cum_cost::text as venue_cost, o.executions as our_executions, t.executions as venue_executions
      from named_by_venue t full join ours o on o.order_id = t.order_id
) d
 where d.problem is not null
 order by d.order_id
"""

# What waits in the outbox of a user is the end of the user's streams; what lies before it is in Kafka. A row goes when
# Kafka has it.
_EVENT_HEADS: LiteralString = """
with page as materialized (
    select user_id, order_event_seq, entry_seq, chain_head, owner_state
      from brokerage.users
     where (%(after)s::uuid is null or user_id > %(after)s) and purged_at is null and owner_state <> 'arriving'
     order by user_id limit %(limit)s
),
waiting as (
    select user_id, min(order_stream_seq) - 1 as orders, min(entry_seq) - 1 as ledger
      from brokerage.outbox where user_id = any (array(select user_id from page)) group by user_id
    union all   -- what had not been published when they left is published where they are
    (select distinct on (d.user_id) d.user_id, d.orders_published, d.ledger_published
       from brokerage.departures d join page p on p.user_id = d.user_id and p.owner_state = 'departed'
      where d.departed_at is not null order by d.user_id, d.ownership_epoch desc)
),
lost as (   -- by stream: first and last number of what is not to be found here, and why not: "elsewhere", or a restore
    select l.user_id, jsonb_agg(l.range order by l.stream, l.first_seq) as lost
      from (select user_id, stream, first_seq, jsonb_build_array(stream, first_seq, last_seq) as range
              from lost_sequences
            union all
            select user_id, stream, first_seq, jsonb_build_array(stream, first_seq, last_seq, 'elsewhere')
              from sequences_elsewhere) l
     where l.user_id = any (array(select user_id from page)) group by l.user_id
)
select p.user_id, p.order_event_seq, p.entry_seq, coalesce(w.orders, p.order_event_seq) as orders_published,
       coalesce(w.ledger, p.entry_seq) as ledger_published,
       encode(case when w.ledger is null then p.chain_head
                   else (select j.hash from all_journal_entries j
                          where j.user_id = p.user_id and j.seq <= w.ledger order by j.seq desc limit 1)
              end, 'hex') as published_chain_head,
       l.lost
  from page p
  left join waiting w on w.user_id = p.user_id
  left join lost l on l.user_id = p.user_id
 order by p.user_id
"""

_RECORD: LiteralString = "select record_reconciliation_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"

_RUNS: LiteralString = """
select run_id, started_at, ended_at, as_of, actor, verdict, checks, totals, venue, events
  from brokerage.reconciliations
 where %(before)s::uuid is null or run_id < %(before)s
 order by run_id desc
 limit %(limit)s
"""


async def list_event_heads(pool: Pool, *, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """By user: how far the streams were written and published, at one instant."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_EVENT_HEADS, {"after": after, "limit": limit})
        return await cursor.fetchall()


async def find_differences(
    pool: Pool, *, session: str, orders: Sequence[VenueOrder], after: UUID, until: UUID
) -> list[dict[str, Any]]:
    """Where the venue's orders and ours, beyond `after` up to `until` and those it named, are not the same."""
    parameters = {
        "session": session,
        "after": after,
        "until": until,
        "ids": [order.order_id for order in orders],
        "sessions": [order.session for order in orders],
        "opens": [order.is_open for order in orders],
        "qtys": [order.cum_qty for order in orders],
        "costs": [order.cum_cost for order in orders],
        "counts": [order.executions for order in orders],
    }
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_DIFFERENCES, parameters)
        return await cursor.fetchall()


async def record_run(
    pool: Pool,
    *,
    run_id: UUID,
    started_at: datetime,
    ended_at: datetime,
    as_of: datetime,
    actor: str,
    verdict: str,
    checks: object,
    totals: object,
    venue: object,
    events: object,
) -> None:
    found = [Jsonb(part) for part in (checks, totals, venue, events)]
    async with pool.connection() as connection:
        await connection.execute(_RECORD, [run_id, started_at, ended_at, as_of, actor, verdict, *found])


async def list_runs(pool: Pool, *, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    """The latest runs, newest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_RUNS, {"before": before, "limit": limit})
        return await cursor.fetchall()
