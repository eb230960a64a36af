"""Reads of the rollups: minutes, the busiest symbols of a window, and since when something is not counted yet.

All of one answer come from one snapshot, so the symbols' sums are those of the minutes. The limits are the caller's: a
day of minutes is 1,440 rows, and at most some fifty symbols each. They raise what the driver raises: `app.py` answers
that.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from cell.instant import one_instant
from infra.runtime.database import Pool

_NOW: Final[LiteralString] = """
select clock_v1(), (select occurred_at from brokerage.outbox order by id limit 1)
"""
_MINUTES: Final[LiteralString] = """
select minute, orders, fills, rejects, taken_back, volume_exact, cash_in_micros, cash_out_micros
  from brokerage.rollups where minute >= %s and minute < %s order by minute desc
"""
_SYMBOLS: Final[LiteralString] = """
select symbol, sum(orders)::bigint, sum(fills)::bigint, sum(rejects)::bigint, sum(taken_back)::bigint,
       sum(qty_micros), sum(volume_exact)
  from brokerage.symbol_rollups where minute >= %s and minute < %s
 group by symbol order by symbol = '*', sum(orders + fills) desc, symbol limit %s
"""


@dataclass(frozen=True, slots=True)
class Minute:
    """One row of `rollups`; `volume_exact` in 1e-12 dollars."""

    minute: datetime
    orders: int
    fills: int
    rejects: int
    taken_back: int
    volume_exact: int
    cash_in_micros: int
    cash_out_micros: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol over the window; `*`: the symbols that are no longer told apart."""

    symbol: str
    orders: int
    fills: int
    rejects: int
    taken_back: int
    qty_micros: int
    volume_exact: int


@dataclass(frozen=True, slots=True)
class Rollups:
    as_of: datetime
    pending_since: datetime | None
    """Of the oldest event that is not counted yet; None: all are."""
    minutes: list[Minute]
    symbols: list[Symbol]


async def read_clock(pool: Pool) -> datetime:
    async with pool.connection() as connection:
        row = await (await connection.execute(_NOW)).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


async def read_rollups(pool: Pool, begins: datetime, ends: datetime, *, symbols_max: int) -> Rollups:
    """Minutes from `begins` to before `ends`, newest first, and the busiest symbols over them."""
    async with pool.connection() as connection, one_instant(connection):
        row = await (await connection.execute(_NOW)).fetchone()
        assert row is not None
        minutes = await (await connection.execute(_MINUTES, (begins, ends))).fetchall()
        symbols = await (await connection.execute(_SYMBOLS, (begins, ends, symbols_max))).fetchall()
    return Rollups(
        row[0],
        row[1],
        [_minute(columns) for columns in minutes],
        [_symbol(columns) for columns in symbols],
    )


def _minute(columns: tuple[Any, ...]) -> Minute:
    minute, orders, fills, rejects, taken_back, volume, cash_in, cash_out = columns
    return Minute(minute, orders, fills, rejects, taken_back, int(volume), cash_in, cash_out)


def _symbol(columns: tuple[Any, ...]) -> Symbol:
    symbol, orders, fills, rejects, taken_back, qty, volume = columns
    return Symbol(symbol, orders, fills, rejects, taken_back, int(qty), int(volume))
