"""Statements of what the market does to orders: last prices, stops, opens and closes.

Every call raises a DatabaseFailure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

from cell.rows import fetch_values
from infra.runtime.database import Pool
from infra.runtime.procedures import connected

_SET_PRICES: Final[LiteralString] = """
select set_reference_prices_v1(%b::text[], %b::bigint[], %s, %b::bigint[])
"""
_SET_BANDS: Final[LiteralString] = "select set_price_bands_v1(%b::text[], %b::bigint[], %b::bigint[])"
_JUDGE: Final[LiteralString] = "select judge_stops_v1(%s, %s)"
_TRIGGER: Final[LiteralString] = """
select triggered, passed_over, next_after from trigger_reached_stops_v1(%s, %s, %s, %s)
"""
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
select last_order_id, ended, instructed, deferred, still_open from expire_day_orders_v1(%s, %s, %s, %s)
"""
_END_SESSION: Final[LiteralString] = "select end_session_v1(%s, %s)"
_RELEASE: Final[LiteralString] = """
select released, passed_over, next_after from release_queued_orders_v1(%s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class NumberedPrice:
    """A last price under the number that the venue gave it."""

    symbol: str
    px_micros: int
    number: int


@dataclass(frozen=True, slots=True)
class Triggered:
    """How many reached stops were triggered, how many users were passed over, and after whom the next call goes on."""

    triggered: int
    passed_over: int
    next_after: UUID | None


@dataclass(frozen=True, slots=True)
class Expired:
    """One page of a session's day orders. `last_order_id` is None when there are no more."""

    last_order_id: UUID | None
    ended: int
    instructed: int
    deferred: int
    still_open: int


@dataclass(frozen=True, slots=True)
class Released:
    """How many orders went on their way, how many users were passed over, and after whom the next call goes on."""

    released: int
    passed_over: int
    next_after: UUID | None


async def set_reference_prices(pool: Pool, prices: Sequence[NumberedPrice], at: datetime) -> None:
    """Take over last prices; of one symbol's the one with the highest number is the reference."""
    symbols = [price.symbol for price in prices]
    pxs, numbers = [price.px_micros for price in prices], [price.number for price in prices]
    async with connected(pool) as connection:
        await connection.execute(_SET_PRICES, (symbols, pxs, at, numbers))


async def set_price_bands(pool: Pool, bands: Mapping[str, tuple[int, int]]) -> None:
    """Take over which symbols the venue has bands of its own for; all others have none."""
    values = (list(bands), [low for low, _ in bands.values()], [high for _, high in bands.values()])
    async with connected(pool) as connection:
        await connection.execute(_SET_BANDS, values)


async def judge_stops(pool: Pool, *, limit: int, market_hours: str) -> int:
    """Hold the written prices against the armed stops; how many more were reached."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_JUDGE, (limit, market_hours))).fetchone()
    return 0 if row is None else int(row[0])


async def trigger_stops(pool: Pool, *, limit: int, at: datetime, market_hours: str, after: UUID | None) -> Triggered:
    """Send reached stops on their way; users take turns after `after`."""
    async with connected(pool) as connection:
        [step] = await fetch_values(connection, Triggered, _TRIGGER, (limit, at, market_hours, after))
    return step


async def unended_sessions(pool: Pool, at: datetime) -> list[datetime]:
    """Closes that have passed and whose day orders have not all ended, newest first."""
    async with connected(pool) as connection:
        rows = await (await connection.execute(_UNENDED, (at,))).fetchall()
    return [row[0] for row in rows]


async def closes_left_behind(pool: Pool, at: datetime) -> list[datetime]:
    """Closes that open orders have on record and that no session has any more: the calendar was changed after them."""
    async with connected(pool) as connection:
        rows = await (await connection.execute(_LEFT_BEHIND, {"at": at})).fetchall()
    return [row[0] for row in rows]


async def sessions_ahead(pool: Pool, at: datetime) -> int:
    """How many sessions the calendar still knows; without any, an order that is not for now is refused."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_AHEAD, (at,))).fetchone()
    return 0 if row is None else int(row[0])


async def expire_orders(pool: Pool, closes_at: datetime, *, after: UUID, limit: int, at: datetime) -> Expired:
    """End one page of the day orders of a session, or tell the venue to."""
    async with connected(pool) as connection:
        [step] = await fetch_values(connection, Expired, _EXPIRE, (closes_at, after, limit, at))
    return step


async def end_session(pool: Pool, closes_at: datetime, at: datetime) -> None:
    """Every day order of this session has ended."""
    async with connected(pool) as connection:
        await connection.execute(_END_SESSION, (closes_at, at))


async def release_queued(pool: Pool, *, limit: int, at: datetime, market_hours: str, after: UUID | None) -> Released:
    """Send orders that waited for the open on their way, if it is open; users take turns after `after`."""
    async with connected(pool) as connection:
        [step] = await fetch_values(connection, Released, _RELEASE, (limit, at, market_hours, after))
    return step
