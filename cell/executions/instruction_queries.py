"""Statements of the way out: what the venue must be told, and what it has not answered.

Every call raises a DatabaseFailure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

from cell.executions.venue import VenueOrder
from cell.rows import fetch_rows, field_names
from infra.runtime.database import Pool
from infra.runtime.procedures import connected

_CLAIM: Final[LiteralString] = """
select instruction_id, action, order_id, user_id, client_order_id, symbol, side, type, time_in_force, order_qty_micros,
       limit_px_micros, replaces, cash_micros, next_after
  from claim_instructions_v1(%s, %s::uuid)
"""
_SENT: Final[LiteralString] = """
select i.id as instruction_id, i.action, i.order_id, i.user_id, o.client_order_id, o.symbol, o.side, o.type,
       o.time_in_force,
       case when i.action = 'replace' then o.replace_qty_micros
            -- what was sent with it: what a sale by amount held at first
            when o.notional_micros is not null and o.side = 'sell' then o.held_shares_micros + o.cum_qty_micros
            else o.order_qty_micros end as order_qty_micros,
       coalesce(o.hold_px_micros, o.limit_px_micros) as limit_px_micros,
       case i.action when 'replace' then o.replaces end as replaces, o.notional_micros as cash_micros
  from (select n.id, n.action, n.order_id, n.user_id
          from brokerage.venue_instructions n
         where n.sent_at is not null and n.id > %(after)s
               -- a report that waits in the inbox shows that the venue has the order: asking would only add another one
           and not (n.action in ('submit', 'replace') and exists (
                    select from brokerage.inbox x where x.user_id = n.user_id and x.order_id = n.order_id))
         order by n.id limit %(limit)s) i
       -- one order at a time by its key: after an outage a join would read the whole table for every page
 cross join lateral (
        select * from brokerage.orders where user_id = i.user_id and order_id = i.order_id limit 1) o
 order by i.id
"""
_UNANSWERED: Final[LiteralString] = """
select i.tries, i.id as instruction_id, i.action, i.order_id, i.user_id, o.client_order_id, o.symbol, o.side, o.type,
       o.time_in_force,
       case when i.action = 'replace' then o.replace_qty_micros
            -- what was sent with it: what a sale by amount held at first
            when o.notional_micros is not null and o.side = 'sell' then o.held_shares_micros + o.cum_qty_micros
            else o.order_qty_micros end as order_qty_micros,
       coalesce(o.hold_px_micros, o.limit_px_micros) as limit_px_micros,
       case i.action when 'replace' then o.replaces end as replaces, o.notional_micros as cash_micros
  from (select n.id, n.action, n.tries, n.order_id, n.user_id
          from brokerage.venue_instructions n
         where n.id > %(after)s and n.sent_at is not null
           and coalesce(n.tried_at, n.sent_at) < %(at)s
               - make_interval(secs => case when n.stuck_at is null then %(every_s)s else %(stuck_every_s)s end)
               -- a report that waits in the inbox shows that the venue has the order: asking would only add another one
           and not (n.action in ('submit', 'replace') and exists (
                    select from brokerage.inbox x where x.user_id = n.user_id and x.order_id = n.order_id))
         order by n.id limit %(limit)s) i
       -- one order at a time by its key, as above
 cross join lateral (
        select * from brokerage.orders where user_id = i.user_id and order_id = i.order_id limit 1) o
 order by i.id
"""
_INSTRUCTION: Final = ("instruction_id", "action", *field_names(VenueOrder))
_NOTE_TRIES: Final[LiteralString] = "select note_tries_v1(%b::bigint[], %b::bigint[], %s)"
_CANCEL_UNANSWERED: Final[LiteralString] = "select cancel_unanswered_v1(%b::uuid[], %b::uuid[])"
_COUNT_STUCK: Final[LiteralString] = (
    "select count(distinct order_id) from brokerage.venue_instructions where stuck_at is not null"
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """What the venue must be told."""

    instruction_id: int
    action: str
    order: VenueOrder


@dataclass(frozen=True, slots=True)
class Claimed:
    """Instructions to send now, in order of id, and the user after whom the next claim goes on."""

    instructions: list[Instruction]
    next_after: UUID | None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An instruction that was sent and has no answer yet, and how often it was asked about."""

    instruction_id: int
    action: str
    tries: int
    order: VenueOrder


async def claim_instructions(pool: Pool, limit: int, after: UUID | None = None) -> Claimed:
    """Mark up to `limit` instructions sent and return them: users take turns after `after`."""
    async with connected(pool) as connection:
        rows = await fetch_rows(connection, _CLAIM, (limit, after), (*_INSTRUCTION, "next_after"))
    instructions = [Instruction(row[0], row[1], VenueOrder(*row[2:-1])) for row in rows if row[0] is not None]
    return Claimed(instructions, rows[-1][-1] if rows else after)


async def sent_instructions(pool: Pool, *, after_id: int, limit: int) -> list[Instruction]:
    """Instructions marked sent whose answer is not applied yet, in order of id."""
    async with connected(pool) as connection:
        wanted = {"after": after_id, "limit": limit}
        rows = await fetch_rows(connection, _SENT, wanted, _INSTRUCTION)
    return [Instruction(row[0], row[1], VenueOrder(*row[2:])) for row in rows]


async def unanswered_instructions(
    pool: Pool, *, at: datetime, every_s: float, stuck_every_s: float, after_id: int, limit: int
) -> list[Unanswered]:
    """Sent instructions whose next try is due, in order of id."""
    async with connected(pool) as connection:
        wanted = {"at": at, "every_s": every_s, "stuck_every_s": stuck_every_s, "after": after_id, "limit": limit}
        rows = await fetch_rows(connection, _UNANSWERED, wanted, ("tries", *_INSTRUCTION))
    return [Unanswered(row[1], row[2], row[0], VenueOrder(*row[3:])) for row in rows]


async def note_tries(pool: Pool, instruction_ids: Sequence[int], stuck_ids: Sequence[int], at: datetime) -> None:
    """These were tried once more; some are for an operator now."""
    async with connected(pool) as connection:
        await connection.execute(_NOTE_TRIES, (list(instruction_ids), list(stuck_ids), at))


async def cancel_unanswered(pool: Pool, orders: Sequence[VenueOrder]) -> None:
    """Cancel orders about which the venue is silent."""
    users, ids = [order.user_id for order in orders], [order.order_id for order in orders]
    async with connected(pool) as connection:
        await connection.execute(_CANCEL_UNANSWERED, (users, ids))


async def count_stuck(pool: Pool) -> int:
    """How many orders an operator should look at."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_COUNT_STUCK)).fetchone()
    return 0 if row is None else int(row[0])
