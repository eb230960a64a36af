"""The worker's few statements that belong to no part of its work: the clock, the calendar, what is deleted in time.

The others stand in `instruction_queries.py`, `report_queries.py` and `market_queries.py`; no other file here knows SQL.
Each call is one transaction, may be repeated, and raises a DatabaseFailure.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

import psycopg

from infra.runtime.database import Pool
from infra.runtime.market_calendar import TradingSession
from infra.runtime.procedures import connected

_WRITE_SESSIONS: Final[LiteralString] = (
    "select set_market_sessions_v1(%s::date[], %s::timestamptz[], %s::timestamptz[], %s)"
)
_PRUNE_KEYS: Final[LiteralString] = "select prune_idempotency_keys_v1(%s, %s)"
_END_LONG_READERS: Final[LiteralString] = "select end_long_readers_v1('10 minutes')"
_PRUNE_FAMILIES: Final[LiteralString] = "select prune_refresh_families_v1(%s, %s)"
_CLOCK: Final[LiteralString] = "select clock_v1()"
_PRUNE_ROLLUPS: Final[LiteralString] = "select prune_rollups_v1(%s, %s, %s)"
_PRUNE_LOGIN_SOURCES: Final[LiteralString] = "select prune_login_sources_v1(%s)"


async def write_sessions(owner_dsn: str, sessions: Sequence[TradingSession], at: datetime) -> int:
    """Make the calendar's rows those; returns how many changed. As the owner: no service may move the hours."""
    days = [session.trade_date for session in sessions]
    opens = [session.opens_at for session in sessions]
    closes = [session.closes_at for session in sessions]
    async with await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as connection:
        row = await (await connection.execute(_WRITE_SESSIONS, (days, opens, closes, at))).fetchone()
    assert row is not None
    return int(row[0])


async def read_clock(pool: Pool) -> datetime:
    """What time it is in the database."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_CLOCK)).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


async def prune_idempotency_keys(pool: Pool, older_than: datetime, limit: int) -> int:
    """Delete a few keys that are old enough; returns how many."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_PRUNE_KEYS, (older_than, limit))).fetchone()
    return 0 if row is None else int(row[0])


async def prune_refresh_families(pool: Pool, older_than: datetime, limit: int) -> int:
    """Delete a few families of refresh tokens that ended long enough ago; returns how many."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_PRUNE_FAMILIES, (older_than, limit))).fetchone()
    return 0 if row is None else int(row[0])


async def prune_login_sources(pool: Pool, older_than: datetime, limit: int) -> int:
    """Delete a few sources of logins that nothing is counted of any more, by their own time; returns how many."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_PRUNE_LOGIN_SOURCES, (limit,))).fetchone()
    return 0 if row is None else int(row[0])


async def prune_rollups(pool: Pool, older_than: datetime, *, symbols: int, minutes: int) -> int:
    """Delete a few minutes that are old enough, and keep only the busiest symbols of those just over; returns how many
    minutes."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_PRUNE_ROLLUPS, (older_than, symbols, minutes))).fetchone()
    return 0 if row is None else int(row[0])


async def end_long_readers(pool: Pool) -> int:
    """End the sessions of auditors who keep a transaction open for too long; returns how many."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_END_LONG_READERS)).fetchone()
    return 0 if row is None else int(row[0])
