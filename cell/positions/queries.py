"""Reads of positions, cash beside them, and symbols: each exact at one moment, because it is one statement.

They raise 404, 421 and 503 as `check_owner` does, and what the driver raises: `app.py` answers that.
"""

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from cell.ownership.guard import check_owner
from infra.runtime.database import Pool

_POSITIONS_ASCENDING: LiteralString = """
select p.symbol, p.qty_micros, p.qty_held_micros, p.cost_basis_micros, s.reference_px_micros
  from brokerage.positions p
  left join brokerage.symbols s on s.symbol = p.symbol
 where p.user_id = %s and (%s::text is null or p.symbol > %s) and (p.qty_micros <> 0 or p.qty_held_micros <> 0)
 order by p.symbol
 limit %s
"""

_POSITIONS_DESCENDING: LiteralString = """
select p.symbol, p.qty_micros, p.qty_held_micros, p.cost_basis_micros, s.reference_px_micros
  from brokerage.positions p
  left join brokerage.symbols s on s.symbol = p.symbol
 where p.user_id = %s and (%s::text is null or p.symbol < %s) and (p.qty_micros <> 0 or p.qty_held_micros <> 0)
 order by p.symbol desc
 limit %s
"""

# One statement, one snapshot: cash and shares of the same instant. The limit bounds the answer, not the sums.
_PORTFOLIO: LiteralString = """
select u.cash_micros + u.cash_held_micros as cash_micros, snapshot_time_v1() as as_of,
       coalesce((select jsonb_agg(to_jsonb(x) order by x.symbol) from (
            select p.symbol, p.qty_micros, p.qty_held_micros, p.cost_basis_micros, s.reference_px_micros
              from brokerage.positions p left join brokerage.symbols s on s.symbol = p.symbol
             where p.user_id = u.user_id and (p.qty_micros <> 0 or p.qty_held_micros <> 0)
             order by p.symbol limit 5000) x), '[]') as positions
  from brokerage.users u
 where u.user_id = %s
"""

_SYMBOL: LiteralString = """
select symbol, tradable and not halted as tradable, reference_px_micros, reference_at
  from brokerage.symbols where symbol = %s
"""


async def list_positions(
    pool: Pool, user_id: UUID, *, after: str | None, descending: bool, limit: int
) -> list[dict[str, Any]]:
    """Positions beyond the symbol `after`, by symbol. Raises Problem."""
    sql = _POSITIONS_DESCENDING if descending else _POSITIONS_ASCENDING
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(sql, [user_id, after, after, limit])
            rows = await cursor.fetchall()
        await check_owner(connection, user_id)
    return rows


async def read_portfolio(pool: Pool, user_id: UUID) -> tuple[int, datetime, list[dict[str, Any]]]:
    """Cash (held included), the moment, and the positions. Raises Problem."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_PORTFOLIO, [user_id])).fetchone()
        await check_owner(connection, user_id)
    assert row is not None
    return int(row[0]), row[1], row[2]


async def find_symbol(pool: Pool, symbol: str) -> dict[str, Any] | None:
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SYMBOL, [symbol])
        return await cursor.fetchone()
