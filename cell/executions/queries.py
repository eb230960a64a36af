"""Every statement of the worker: the procedures it calls and the few rows it reads. No other file here knows SQL.

A call fails in one of two ways. `DatabaseAway`: no connection, a lock or a deadline; whether it was done is unknown,
and every call here may be repeated. `CallRefused`: the database said no to this very call.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, LiteralString
from uuid import UUID

import psycopg

from cell.executions.report import ExecutionReport
from cell.executions.venue import VenueOrder
from infra.runtime.database import Connection, Pool
from infra.runtime.market_calendar import TradingSession

_CLAIM: Final[LiteralString] = """
select instruction_id, action, order_id, user_id, client_order_id, symbol, side, type, time_in_force, order_qty_micros,
       limit_px_micros, replaces, cash_micros
  from brokerage.claim_instructions_v1(%s, %s)
"""
_SENT: Final[LiteralString] = """
select i.id, i.action, i.order_id, i.user_id, o.client_order_id, o.symbol, o.side, o.type, o.time_in_force,
       case when i.action = 'replace' then o.replace_qty_micros
            -- what was sent with it: what a sale by amount held at first
            when o.notional_micros is not null and o.side = 'sell' then o.held_shares_micros + o.cum_qty_micros
            else o.order_qty_micros end,
       coalesce(o.hold_px_micros, o.limit_px_micros), case i.action when 'replace' then o.replaces end,
       o.notional_micros
  from (select n.id, n.action, n.order_id, n.user_id
          from brokerage.venue_instructions n
         where n.sent_at < %(before)s and n.id > %(after)s
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
select i.id, i.action, i.tries, i.order_id, i.user_id, o.client_order_id, o.symbol, o.side, o.type, o.time_in_force,
       case when i.action = 'replace' then o.replace_qty_micros
            -- what was sent with it: what a sale by amount held at first
            when o.notional_micros is not null and o.side = 'sell' then o.held_shares_micros + o.cum_qty_micros
            else o.order_qty_micros end,
       coalesce(o.hold_px_micros, o.limit_px_micros), case i.action when 'replace' then o.replaces end,
       o.notional_micros
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
_NOTE_TRIES: Final[LiteralString] = "select brokerage.note_tries_v1(%b::bigint[], %b::bigint[], %s)"
_CANCEL_UNANSWERED: Final[LiteralString] = "select brokerage.cancel_unanswered_v1(%b::uuid[], %b::uuid[], %s)"
_COUNT_STUCK: Final[LiteralString] = (
    "select count(distinct order_id) from brokerage.venue_instructions where stuck_at is not null"
)
_RECEIVED: Final[LiteralString] = """
select received_seq from brokerage.venue_sessions where venue = %s and session = %s
"""
_ACCEPT: Final[LiteralString] = """
select received_seq, inbox_id, user_id
  from brokerage.accept_reports_v1(%s, %s, %b::bigint[], %b::uuid[], %b::text[]::jsonb[], %s)
"""
_APPLY: Final[LiteralString] = """
select inbox_id, outcome, reason, user_id from brokerage.apply_reports_v1(%b::bigint[], %s, %s)
"""
_END_EARLY: Final[LiteralString] = "select inbox_id, order_id from brokerage.end_early_reports_v1(%s, %s)"
_COUNT_EARLY: Final[LiteralString] = "select count(*) from brokerage.early_reports"
_QUARANTINE: Final[LiteralString] = "select brokerage.quarantine_report_v1(%s, %s, %s)"
_UNAPPLIED: Final[LiteralString] = "select id, user_id from brokerage.inbox where id > %s order by id limit %s"
_SET_PRICES: Final[LiteralString] = "select brokerage.set_reference_prices_v1(%b::text[], %b::bigint[], %s)"
_SET_BANDS: Final[LiteralString] = "select brokerage.set_price_bands_v1(%b::text[], %b::bigint[], %b::bigint[])"
_TRIGGER: Final[LiteralString] = """
select triggered, put_off
  from brokerage.trigger_stops_v1(%b::text[], %b::bigint[], %s::timestamptz[], %s, %s, %s, %s)
"""
_WRITE_SESSIONS: Final[LiteralString] = (
    "select brokerage.set_market_sessions_v1(%s::date[], %s::timestamptz[], %s::timestamptz[], %s)"
)
_UNENDED: Final[LiteralString] = """
select closes_at from brokerage.market_sessions where closes_at <= %s and expired_at is null
 order by closes_at desc limit 20
"""
# One step of the index per close, however many orders have it.
_LEFT_BEHIND: Final[LiteralString] = """
with recursive closes as (
    select min(expires_at) as at from brokerage.orders where expires_at > %(at)s::timestamptz - interval '14 days'
    union all
    select (select min(o.expires_at) from brokerage.orders o where o.expires_at > c.at)
      from closes c where c.at <= %(at)s
)
select c.at
  from closes c
 where c.at <= %(at)s
   and not exists (select from brokerage.market_sessions m where m.closes_at = c.at)
   and exists (select from brokerage.orders o where o.expires_at = c.at and o.is_open)
 limit 20
"""
_AHEAD: Final[LiteralString] = "select count(*) from brokerage.market_sessions where closes_at > %s"
_EXPIRE: Final[LiteralString] = """
select last_order_id, ended, told, put_off, still_open from brokerage.expire_orders_v1(%s, %s, %s, %s)
"""
_END_SESSION: Final[LiteralString] = "select brokerage.end_session_v1(%s, %s)"
_RELEASE: Final[LiteralString] = "select released, put_off from brokerage.release_queued_v1(%s, %s, %s)"
_TRY_LOCK: Final[LiteralString] = "select pg_try_advisory_lock(%s)"
_UNLOCK: Final[LiteralString] = "select pg_advisory_unlock(%s)"
_PRUNE_KEYS: Final[LiteralString] = "select brokerage.prune_idempotency_keys_v1(%s, %s)"
_PRUNE_FAMILIES: Final[LiteralString] = "select brokerage.prune_refresh_families_v1(%s, %s)"
_ALIVE: Final[LiteralString] = "select 1"


class DatabaseAway(Exception):
    """Try again."""


class CallRefused(Exception):
    """Trying again the same way will not help; `sqlstate` says why."""

    def __init__(self, sqlstate: str, detail: str) -> None:
        super().__init__(f"{sqlstate}: {detail}")
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class Instruction:
    """What the venue must be told."""

    instruction_id: int
    action: str
    order: VenueOrder


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An instruction that was sent and has no answer yet, and how often it was asked about."""

    instruction_id: int
    action: str
    tries: int
    order: VenueOrder


@dataclass(frozen=True, slots=True)
class Accepted:
    """A committed batch of reports: how far the session is, and what is new as (inbox id, user id or None)."""

    received_seq: int
    fresh: list[tuple[int, UUID | None]]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one inbox row."""

    inbox_id: int
    outcome: str
    reason: str | None
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class ToldPrice:
    """A last price and when this cell heard it."""

    symbol: str
    px_micros: int
    told_at: datetime


@dataclass(frozen=True, slots=True)
class Triggered:
    """How many stops were triggered, and how many more were reached while another writer had their user."""

    triggered: int
    put_off: int


@dataclass(frozen=True, slots=True)
class Expired:
    """One page of a session's day orders. `last_order_id` is None when there are no more."""

    last_order_id: UUID | None
    ended: int
    told: int
    put_off: int
    still_open: int


@dataclass(frozen=True, slots=True)
class Released:
    """How many orders went on their way, and how many more are due while another writer has their user."""

    released: int
    put_off: int


@asynccontextmanager
async def _calling(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for one call, its errors in our words."""
    try:
        async with pool.connection() as connection:
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseAway(str(error)) from error
    except psycopg.Error as error:
        raise CallRefused(error.sqlstate or "", str(error)) from error


async def claim_instructions(pool: Pool, limit: int, at: datetime) -> list[Instruction]:
    """Mark up to `limit` instructions sent, at most one per user, and return them."""
    async with _calling(pool) as connection:
        rows = await (await connection.execute(_CLAIM, (limit, at))).fetchall()
    return [Instruction(row[0], row[1], VenueOrder(*row[2:])) for row in rows]


async def sent_instructions(pool: Pool, *, before: datetime, after_id: int, limit: int) -> list[Instruction]:
    """Instructions marked sent before a moment whose answer is not applied yet, in order of id."""
    async with _calling(pool) as connection:
        wanted = {"before": before, "after": after_id, "limit": limit}
        rows = await (await connection.execute(_SENT, wanted)).fetchall()
    return [Instruction(row[0], row[1], VenueOrder(*row[2:])) for row in rows]


async def unanswered_instructions(
    pool: Pool, *, at: datetime, every_s: float, stuck_every_s: float, after_id: int, limit: int
) -> list[Unanswered]:
    """Sent instructions whose next try is due, in order of id."""
    async with _calling(pool) as connection:
        wanted = {"at": at, "every_s": every_s, "stuck_every_s": stuck_every_s, "after": after_id, "limit": limit}
        rows = await (await connection.execute(_UNANSWERED, wanted)).fetchall()
    return [Unanswered(row[0], row[1], row[2], VenueOrder(*row[3:])) for row in rows]


async def note_tries(pool: Pool, instruction_ids: Sequence[int], stuck_ids: Sequence[int], at: datetime) -> None:
    """These were tried once more; some are for an operator now."""
    async with _calling(pool) as connection:
        await connection.execute(_NOTE_TRIES, (list(instruction_ids), list(stuck_ids), at))


async def cancel_unanswered(pool: Pool, orders: Sequence[VenueOrder], at: datetime) -> None:
    """Cancel orders about which the venue is silent."""
    users, ids = [order.user_id for order in orders], [order.order_id for order in orders]
    async with _calling(pool) as connection:
        await connection.execute(_CANCEL_UNANSWERED, (users, ids, at))


async def count_stuck(pool: Pool) -> int:
    """How many orders an operator should look at."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_COUNT_STUCK)).fetchone()
    return 0 if row is None else int(row[0])


async def received_seq(pool: Pool, venue: str, session: str) -> int:
    """The highest report number of the session that is committed here."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_RECEIVED, (venue, session))).fetchone()
    return 0 if row is None else int(row[0])


async def accept_reports(
    pool: Pool, *, venue: str, session: str, reports: Sequence[ExecutionReport], at: datetime
) -> Accepted:
    """Commit reports to the inbox. Raises with SQLSTATE RB020 on a gap."""
    values = (
        venue,
        session,
        [report.seq for report in reports],
        [report.order_id for report in reports],
        [report.body for report in reports],
        at,
    )
    async with _calling(pool) as connection:
        rows = await (await connection.execute(_ACCEPT, values)).fetchall()
    return Accepted(int(rows[0][0]), [(row[1], row[2]) for row in rows if row[1] is not None])


async def apply_reports(pool: Pool, inbox_ids: Sequence[int], *, settles_on: date, at: datetime) -> list[Applied]:
    """Apply reports, at most one per user."""
    async with _calling(pool) as connection:
        rows = await (await connection.execute(_APPLY, (list(inbox_ids), settles_on, at))).fetchall()
    return [Applied(*row) for row in rows]


async def quarantine_report(pool: Pool, inbox_id: int, reason: str, at: datetime) -> None:
    """Put a report aside that cannot be applied."""
    async with _calling(pool) as connection:
        await connection.execute(_QUARANTINE, (inbox_id, reason, at))


async def end_early_reports(pool: Pool, at: datetime, limit: int) -> list[tuple[int, UUID]]:
    """Put reports aside whose execution did not come in time; (inbox id, order) of each."""
    async with _calling(pool) as connection:
        rows = await (await connection.execute(_END_EARLY, (at, limit))).fetchall()
    return [(row[0], row[1]) for row in rows]


async def count_early(pool: Pool) -> int:
    """How many reports wait for an execution."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_COUNT_EARLY)).fetchone()
    return 0 if row is None else int(row[0])


async def unapplied_reports(pool: Pool, after_id: int, limit: int) -> list[tuple[int, UUID | None]]:
    """Inbox rows that an earlier worker left, in order of id."""
    async with _calling(pool) as connection:
        rows = await (await connection.execute(_UNAPPLIED, (after_id, limit))).fetchall()
    return [(row[0], row[1]) for row in rows]


async def set_reference_prices(pool: Pool, prices: Mapping[str, int], at: datetime) -> None:
    """Take over last prices."""
    async with _calling(pool) as connection:
        await connection.execute(_SET_PRICES, (list(prices), list(prices.values()), at))


async def set_price_bands(pool: Pool, bands: Mapping[str, tuple[int, int]]) -> None:
    """Take over which symbols the venue has bands of its own for; all others have none."""
    values = (list(bands), [low for low, _ in bands.values()], [high for _, high in bands.values()])
    async with _calling(pool) as connection:
        await connection.execute(_SET_BANDS, values)


async def trigger_stops(
    pool: Pool, told: Sequence[ToldPrice], *, limit: int, at: datetime, market_hours: str, wait: bool
) -> Triggered:
    """Trigger the armed stops that these prices reach."""
    symbols = [price.symbol for price in told]
    prices = [price.px_micros for price in told]
    told_at = [price.told_at for price in told]
    async with _calling(pool) as connection:
        cursor = await connection.execute(_TRIGGER, (symbols, prices, told_at, limit, at, market_hours, wait))
        row = await cursor.fetchone()
    assert row is not None
    return Triggered(*row)


async def write_sessions(owner_dsn: str, sessions: Sequence[TradingSession], at: datetime) -> int:
    """Make the calendar's rows those; returns how many changed. As the owner: no service may move the hours."""
    days = [session.trade_date for session in sessions]
    opens = [session.opens_at for session in sessions]
    closes = [session.closes_at for session in sessions]
    async with await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as connection:
        row = await (await connection.execute(_WRITE_SESSIONS, (days, opens, closes, at))).fetchone()
    assert row is not None
    return int(row[0])


async def unended_sessions(pool: Pool, at: datetime) -> list[datetime]:
    """Closes that have passed and whose day orders have not all ended, newest first."""
    async with _calling(pool) as connection:
        rows = await (await connection.execute(_UNENDED, (at,))).fetchall()
    return [row[0] for row in rows]


async def closes_left_behind(pool: Pool, at: datetime) -> list[datetime]:
    """Closes that open orders were told and that no session has any more: the calendar was changed after them."""
    async with _calling(pool) as connection:
        rows = await (await connection.execute(_LEFT_BEHIND, {"at": at})).fetchall()
    return [row[0] for row in rows]


async def sessions_ahead(pool: Pool, at: datetime) -> int:
    """How many sessions the calendar still knows; without any, an order that is not for now is refused."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_AHEAD, (at,))).fetchone()
    return 0 if row is None else int(row[0])


async def expire_orders(pool: Pool, closes_at: datetime, *, after: UUID, limit: int, at: datetime) -> Expired:
    """End one page of the day orders of a session, or tell the venue to."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_EXPIRE, (closes_at, after, limit, at))).fetchone()
    assert row is not None
    return Expired(*row)


async def end_session(pool: Pool, closes_at: datetime, at: datetime) -> None:
    """Every day order of this session has ended."""
    async with _calling(pool) as connection:
        await connection.execute(_END_SESSION, (closes_at, at))


async def release_queued(pool: Pool, *, limit: int, at: datetime, market_hours: str) -> Released:
    """Send orders that waited for the open on their way, if it is open."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_RELEASE, (limit, at, market_hours))).fetchone()
    assert row is not None
    return Released(*row)


async def prune_idempotency_keys(pool: Pool, older_than: datetime, limit: int) -> int:
    """Delete a few keys that are old enough; returns how many."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_PRUNE_KEYS, (older_than, limit))).fetchone()
    return 0 if row is None else int(row[0])


async def prune_refresh_families(pool: Pool, older_than: datetime, limit: int) -> int:
    """Delete a few families of refresh tokens that ended long enough ago; returns how many."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_PRUNE_FAMILIES, (older_than, limit))).fetchone()
    return 0 if row is None else int(row[0])


@asynccontextmanager
async def holding_lock(pool: Pool, key: int) -> AsyncIterator[Connection | None]:
    """Be the one worker of this cell while the block runs, or get None: somebody else is."""
    async with _calling(pool) as connection:
        row = await (await connection.execute(_TRY_LOCK, (key,))).fetchone()
        if row is None or not row[0]:
            yield None
            return
        try:
            yield connection
        finally:
            if not connection.broken:
                await connection.execute(_UNLOCK, (key,))


async def check_alive(connection: Connection) -> None:
    """Raises DatabaseAway if the connection, and the lock with it, is gone."""
    try:
        await connection.execute(_ALIVE)
    except psycopg.Error as error:
        raise DatabaseAway(str(error)) from error
