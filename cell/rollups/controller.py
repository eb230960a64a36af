"""`GET /operator/v1/rollups`: what happened per minute, and which symbols were the busiest."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from cell import errors
from cell.caller import Moment, format_time
from cell.money import Amount, format_micros, rounded_micros
from cell.rollups.queries import Minute, Symbol, read_clock, read_rollups
from infra.runtime.database import Pool

MINUTE: Final = timedelta(minutes=1)
"""A rollup's row."""
MINUTES_DEFAULT: Final = 60
"""An hour."""
MINUTES_MAX: Final = 1_440
"""A day; the aggregator walks further back by `until`."""
SYMBOLS_DEFAULT: Final = 10
"""The most traded ones, on one screen."""
SYMBOLS_MAX: Final = 100
"""Per minute in one answer."""


class MinuteView(msgspec.Struct, frozen=True):
    minute: Moment
    orders: int
    fills: int
    rejects: int
    taken_back: int
    volume: Amount
    cash_in: Amount
    cash_out: Amount


class SymbolView(msgspec.Struct, frozen=True):
    symbol: str
    orders: int
    fills: int
    rejects: int
    taken_back: int
    qty: Amount
    volume: Amount


class RollupsView(msgspec.Struct, frozen=True):
    """Minutes without events have no row. `pending_since`: when the oldest event happened that is not counted yet."""

    cell: str
    as_of: Moment
    begins: Moment
    ends: Moment
    pending_since: Moment | None
    minutes: list[MinuteView]
    symbols: list[SymbolView]


class RollupReads(Controller):
    path = "/operator/v1/rollups"

    @get("/")
    async def rollups(
        self,
        pool: NamedDependency[Pool],
        cell_name: NamedDependency[str],
        minutes: FromQuery[str | None] = None,
        until: FromQuery[str | None] = None,
        symbols: FromQuery[str | None] = None,
    ) -> RollupsView:
        """`minutes` (1..1440, by default 60) before the end of minute `until`, by default the one that is under way."""
        length = _whole("minutes", minutes, MINUTES_DEFAULT, MINUTES_MAX)
        symbols_max = _whole("symbols", symbols, SYMBOLS_DEFAULT, SYMBOLS_MAX)
        last = _begin_of_minute(await read_clock(pool) if until is None else _moment(until))
        ends = last + MINUTE
        begins = ends - length * MINUTE
        found = await read_rollups(pool, begins, ends, symbols_max=symbols_max)
        return RollupsView(
            cell=cell_name,
            as_of=format_time(found.as_of),
            begins=format_time(begins),
            ends=format_time(ends),
            pending_since=None if found.pending_since is None else format_time(found.pending_since),
            minutes=[_minute_view(row) for row in found.minutes],
            symbols=[_symbol_view(row) for row in found.symbols],
        )


def _whole(field: str, text: str | None, default: int, limit: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= limit):
        raise errors.invalid_field(422, field, f"a whole number from 1 to {limit}", limit=limit)
    return int(text)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise errors.invalid_field(422, "until", "a time as 2026-11-30T14:30:00Z") from error
    if at.tzinfo is None or not 1970 <= at.year < 3000:
        raise errors.invalid_field(422, "until", "a time with its zone, as 2026-11-30T14:30:00Z")
    return at


def _begin_of_minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _minute_view(row: Minute) -> MinuteView:
    return MinuteView(
        minute=format_time(row.minute),
        orders=row.orders,
        fills=row.fills,
        rejects=row.rejects,
        taken_back=row.taken_back,
        volume=format_micros(rounded_micros(row.volume_exact)),
        cash_in=format_micros(row.cash_in_micros),
        cash_out=format_micros(row.cash_out_micros),
    )


def _symbol_view(row: Symbol) -> SymbolView:
    return SymbolView(
        symbol=row.symbol,
        orders=row.orders,
        fills=row.fills,
        rejects=row.rejects,
        taken_back=row.taken_back,
        qty=format_micros(row.qty_micros),
        volume=format_micros(rounded_micros(row.volume_exact)),
    )
