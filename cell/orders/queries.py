"""Reads of orders, each bound to its user and to the page's limit.

Order ids sort by creation, so the primary key is the order of the list, and a page costs what it returns. Open orders
have an index of their own: they cost the same among any number of closed ones. Customers' reads raise 404, 421 and 503
as `check_owner` does; all raise what the driver raises, which `app.py` answers.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from cell.orders.status import OPEN
from cell.ownership.guard import check_owner
from infra.runtime.database import Pool

Row = dict[str, Any]

_SELECT: Final[LiteralString] = """
select order_id, client_order_id, symbol, side, type, time_in_force, order_qty_micros, notional_micros, limit_px_micros,
       stop_px_micros, status, cum_qty_micros, cum_cost_micros, cum_cost_exact, held_cash_micros, held_shares_micros,
       reject_reason, replaces, replaced_by, venue_order_id, event_seq, created_at, updated_at
  from brokerage.orders
 where user_id = %(user_id)s
"""
_BY_ID: Final = _SELECT + " and order_id = %(order_id)s"
_BY_CLIENT_ORDER_ID: Final = _SELECT + " and client_order_id = %(client_order_id)s"
# Among the user's own orders: an index would end the HOT update that notes the venue's name, for every order.
_BY_VENUE_ORDER_ID: Final = _SELECT + " and venue_order_id = %(venue_order_id)s order by order_id desc limit 1"

_LIST: Final[LiteralString] = (
    _SELECT
    + """
   and (%(statuses)s::text[] is null or status = any (%(statuses)s))
   and (%(symbol)s::text is null or symbol = %(symbol)s)
   and (%(side)s::text is null or side = %(side)s)
   and (%(since)s::timestamptz is null or created_at > %(since)s)
   and (%(until)s::timestamptz is null or created_at <= %(until)s)
"""
)
_DESCENDING: Final[LiteralString] = """
   and (%(after_id)s::uuid is null or order_id < %(after_id)s)
 order by order_id desc
 limit %(limit)s
"""
_ASCENDING: Final[LiteralString] = """
   and (%(after_id)s::uuid is null or order_id > %(after_id)s)
 order by order_id
 limit %(limit)s
"""
_LIST_DESCENDING: Final = _LIST + _DESCENDING
_LIST_ASCENDING: Final = _LIST + _ASCENDING
_FOR_OPERATOR: Final = _SELECT + _ASCENDING
# Only open ones: by their own index, so that what has ended costs nothing.
_OPEN_DESCENDING: Final = _LIST + " and is_open" + _DESCENDING
_OPEN_ASCENDING: Final = _LIST + " and is_open" + _ASCENDING

_EVENTS_DESCENDING: LiteralString = """
select seq, from_status, to_status, reason, at
  from order_history
 where user_id = %s and order_id = %s and (%s::bigint is null or seq < %s)
 order by seq desc
 limit %s
"""

_EVENTS_ASCENDING: LiteralString = """
select seq, from_status, to_status, reason, at
  from order_history
 where user_id = %s and order_id = %s and (%s::bigint is null or seq > %s)
 order by seq
 limit %s
"""

# As they were recorded, which only grows; the venue may state any time. What moves nothing (a correction may, a
# superseded fill) has no entry of its own: it stands at the one before it. From before that was kept: the venue's time.
_EXECUTIONS: Final[LiteralString] = """
select exec_id, last_qty_micros, last_px_micros, venue, at, recorded_at, entry_seq, kind, ref_exec_id
  from (select exec_id, last_qty_micros, last_px_micros, venue, at, coalesce(recorded_at, at) as recorded_at, entry_seq,
               kind, ref_exec_id
          from all_executions
         where user_id = %(user_id)s and order_id = %(order_id)s) x
"""
_EXECUTIONS_DESCENDING: Final[LiteralString] = (
    _EXECUTIONS
    + """
 where %(seq)s::bigint is null or (entry_seq, recorded_at, exec_id) < (%(seq)s, %(at)s::timestamptz, %(exec_id)s)
 order by entry_seq desc, recorded_at desc, exec_id desc
 limit %(limit)s
"""
)
_EXECUTIONS_ASCENDING: Final[LiteralString] = (
    _EXECUTIONS
    + """
 where %(seq)s::bigint is null or (entry_seq, recorded_at, exec_id) > (%(seq)s, %(at)s::timestamptz, %(exec_id)s)
 order by entry_seq, recorded_at, exec_id
 limit %(limit)s
"""
)

_REFERENCE_PRICE: LiteralString = "select reference_px_micros from brokerage.symbols where symbol = %s"


async def find_reference_price(pool: Pool, symbol: str) -> int | None:
    """Micro-dollars a share, as last heard; None if nothing was."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_REFERENCE_PRICE, [symbol])).fetchone()
    return None if row is None else row[0]


async def _rows(pool: Pool, user_id: UUID, sql: LiteralString, parameters: Any) -> list[Row]:
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(sql, parameters)
            rows = await cursor.fetchall()
        await check_owner(connection, user_id)
        return rows


async def find_order(pool: Pool, user_id: UUID, order_id: UUID) -> Row | None:
    """The order's row; None if it is not this user's. Raises Problem if the user is not this cell's."""
    rows = await _rows(pool, user_id, _BY_ID, {"user_id": user_id, "order_id": order_id})
    return rows[0] if rows else None


async def find_by_client_order_id(pool: Pool, user_id: UUID, client_order_id: str) -> Row | None:
    rows = await _rows(pool, user_id, _BY_CLIENT_ORDER_ID, {"user_id": user_id, "client_order_id": client_order_id})
    return rows[0] if rows else None


async def find_by_venue_order_id(pool: Pool, user_id: UUID, venue_order_id: str) -> Row | None:
    """The latest of the user's orders that a venue calls so."""
    rows = await _rows(pool, user_id, _BY_VENUE_ORDER_ID, {"user_id": user_id, "venue_order_id": venue_order_id})
    return rows[0] if rows else None


async def list_orders(
    pool: Pool,
    user_id: UUID,
    *,
    statuses: Sequence[str] | None,
    symbol: str | None,
    side: str | None,
    since: datetime | None,
    until: datetime | None,
    after_id: UUID | None,
    descending: bool,
    limit: int,
) -> list[Row]:
    """At most `limit` orders beyond `after_id`, newest first if descending."""
    if statuses is not None and OPEN.issuperset(statuses):
        sql = _OPEN_DESCENDING if descending else _OPEN_ASCENDING
    else:
        sql = _LIST_DESCENDING if descending else _LIST_ASCENDING
    return await _rows(
        pool,
        user_id,
        sql,
        {
            "user_id": user_id,
            "after_id": after_id,
            "statuses": None if statuses is None else list(statuses),
            "symbol": symbol,
            "side": side,
            "since": since,
            "until": until,
            "limit": limit,
        },
    )


async def list_for_operator(pool: Pool, user_id: UUID, *, after_id: UUID | None, limit: int) -> list[Row]:
    """At most `limit` orders beyond `after_id`, oldest first, whoever owns the user now."""
    parameters = {"user_id": user_id, "after_id": after_id, "limit": limit}
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_FOR_OPERATOR, parameters)
        return await cursor.fetchall()


async def list_events(
    pool: Pool, user_id: UUID, order_id: UUID, *, after: int | None, descending: bool, limit: int
) -> list[Row]:
    """The order's history beyond the event `after`, newest first if descending."""
    sql = _EVENTS_DESCENDING if descending else _EVENTS_ASCENDING
    return await _rows(pool, user_id, sql, (user_id, order_id, after, after, limit))


async def list_executions(
    pool: Pool,
    user_id: UUID,
    order_id: UUID,
    *,
    after: tuple[int, datetime, str] | None,
    descending: bool,
    limit: int,
) -> list[Row]:
    """The order's executions beyond the one at `after` (entry, recorded time, name), newest first if descending."""
    sql = _EXECUTIONS_DESCENDING if descending else _EXECUTIONS_ASCENDING
    seq, at, exec_id = after or (None, None, None)
    values = {"user_id": user_id, "order_id": order_id, "seq": seq, "at": at, "exec_id": exec_id, "limit": limit}
    return await _rows(pool, user_id, sql, values)
