"""What a measurement on a cell of its own asks of the database: customers to begin with, and what is there at the end.

Customers come in by the shipped procedures, as through the cell; only counting and `vacuum` are the superuser's.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, LiteralString

import psycopg

from loadtests.measurement.refusal import MeasurementRefused

_OPEN: LiteralString = "select 1 from open_account_v1(%s, 1, 'professional', %s, null, 'x')"
_DEPOSIT: LiteralString = """
select count(*) filter (where outcome = 'accepted')
  from deposit_cash_v1(%b::uuid[], %b::text[], %b::bytea[], %b::bigint[])
"""
_PLACE: LiteralString = """
select count(*) filter (where p.outcome = 'accepted')
  from (select %b::uuid[] as users, array[cardinality(%b::uuid[])] as size) n
 cross join lateral place_orders_v1(
       n.users, array_fill(%s::text, n.size), array_fill(decode('00', 'hex'), n.size),
       array_fill(null::text, n.size), array_fill(%s::text, n.size),
       array_fill('buy'::text, n.size), array_fill('limit'::text, n.size), array_fill('day'::text, n.size),
       array_fill(1000000::bigint, n.size), array_fill(%s::bigint, n.size), clock_timestamp(),
       interval '1 hour', true) p
"""
_PRICE: LiteralString = "select set_reference_prices_v1(array[%s], array[%s::bigint], now())"
_COUNT: LiteralString = """
select (select count(*) from brokerage.orders),
       (select count(*) from brokerage.executions),
       (select count(*) from brokerage.inbox),
       (select count(*) from brokerage.venue_instructions)
"""
_FLUSH_STATISTICS: LiteralString = "select pg_stat_force_next_flush()"
_PAGES: LiteralString = """
select sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))::bigint
  from pg_statio_user_tables where schemaname = 'brokerage'
"""
_POSTINGS: LiteralString = "select count(*) from all_postings"
_PROFILE: LiteralString = "select bool_and(set_profile_v1(u, %s, 'benchmark', 'measured')) from unnest(%b::uuid[]) u"
_DEFINITION: LiteralString = "select pg_get_functiondef('place_orders_v1'::regproc)"
# The server's own clock around the call; an inner part is computed to its end before the next begins.
_PLACE_ONE = """
with began as materialized (select clock_timestamp() as at),
     placed as materialized (
         select p.outcome, began.at
           from began cross join lateral {procedure}(
                array[%b::uuid], array[gen_random_uuid()::text], array[decode('00', 'hex')],
                array[null::text], array[%b::text], array['buy'], array['limit'], array['day'],
                array[%b::bigint], array[%b::bigint], began.at, interval '1 hour', true) p)
select outcome, (extract(epoch from clock_timestamp() - at) * 1000000)::float8 from placed
"""
_SHIFT: LiteralString = "select set_config('brokerage.clock_offset', %s, false)"
_NEWEST_CODE: LiteralString = "select schema from migrations.code order by installed_at desc limit 1"
AT_ONCE = 64
"""Customers in one call."""


async def newest_code(dsn: str) -> str:
    """The schema of the release's routines that was installed last. Raises MeasurementRefused if there is none."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        row = await (await connection.execute(_NEWEST_CODE)).fetchone()
    if row is None:
        raise MeasurementRefused("no release's code is installed")
    return str(row[0])


async def open_customers(
    service_dsn: str, count: int, *, cash_micros: int, symbol: str, px_micros: int
) -> list[uuid.UUID]:
    """Professional customers with cash, and a market in one symbol. Raises MeasurementRefused."""
    users = [uuid.uuid4() for _ in range(count)]
    async with await psycopg.AsyncConnection.connect(service_dsn, autocommit=True) as connection:
        await connection.execute(_PRICE, [symbol, px_micros])
        for start in range(0, count, AT_ONCE):
            part = users[start : start + AT_ONCE]
            async with connection.pipeline():
                for user_id in part:
                    await connection.execute(_OPEN, [user_id, f"{user_id}@customers.example"])
            keys = [str(uuid.uuid4()) for _ in part]
            arrays = (part, keys, [b"deposit"] * len(part), [cash_micros] * len(part))
            row = await (await connection.execute(_DEPOSIT, arrays)).fetchone()
            if row != (len(part),):
                raise MeasurementRefused("a deposit was refused")
    return users


async def place_under_key(service_dsn: str, users: Sequence[uuid.UUID], key: str, symbol: str, px_micros: int) -> None:
    """One limit buy of every customer, all under the same key, so that it can be replayed. Raises
    MeasurementRefused."""
    async with await psycopg.AsyncConnection.connect(service_dsn, autocommit=True) as connection:
        for start in range(0, len(users), AT_ONCE):
            part = list(users[start : start + AT_ONCE])
            row = await (await connection.execute(_PLACE, (part, part, key, symbol, px_micros))).fetchone()
            if row != (len(part),):
                raise MeasurementRefused("an order was refused")


async def settle_tables(superuser_dsn: str) -> None:
    """Statistics of filled tables, so that no run begins with those of empty ones."""
    async with await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True) as connection:
        await connection.execute("vacuum analyze")


class Counts:
    """Orders, executions, unapplied reports and instructions, counted over one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[int, ...]]) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, superuser_dsn: str) -> "Counts":
        return cls(await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True))

    async def close(self) -> None:
        await self._connection.close()

    async def read(self) -> Sequence[int]:
        row = await (await self._connection.execute(_COUNT)).fetchone()
        assert row is not None
        return row

    async def postings(self) -> int:
        row = await (await self._connection.execute(_POSTINGS)).fetchone()
        assert row is not None
        return row[0]

    async def pages(self) -> int:
        """Pages of tables and indexes that were looked at so far, in memory or not, by whomever has ended or rests."""
        await self._connection.execute(
            _FLUSH_STATISTICS
        )  # what counting looks at is counted now, not in the next difference
        row = await (await self._connection.execute(_PAGES)).fetchone()
        assert row is not None
        return row[0]

    async def reports_waiting(self) -> int:
        """Cheap, to be asked often: 0 or 1."""
        row = await (
            await self._connection.execute("select count(*) from (select from brokerage.inbox limit 1) x")
        ).fetchone()
        assert row is not None
        return int(row[0])


class SingleOrders:
    """One order in a call over one connection, timed by the server; it waits for no disk."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._ahead = timedelta()

    @classmethod
    async def connect(cls, superuser_dsn: str) -> "SingleOrders":
        connection = await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True)
        await connection.execute("set synchronous_commit = off")
        connection.prepare_threshold = 0
        return cls(connection)

    async def close(self) -> None:
        await self._connection.close()

    async def copy_procedure(self, change: Callable[[str], str]) -> None:
        """Create what `change` makes of the shipped procedure's definition."""
        row = await (await self._connection.execute(_DEFINITION)).fetchone()
        assert row is not None
        await self._connection.execute(change(row[0]))

    async def set_price(self, symbol: str, px_micros: int) -> None:
        await self._connection.execute(_PRICE, [symbol, px_micros])

    async def set_profile(self, users: Sequence[uuid.UUID], profile: str) -> None:
        """Raises MeasurementRefused."""
        row = await (await self._connection.execute(_PROFILE, [profile, list(users)])).fetchone()
        if row != (True,):
            raise MeasurementRefused(f"the profile {profile} was refused")

    async def advance_clock(self, time: timedelta) -> None:
        """The database's clock goes on by that for this connection."""
        self._ahead += time
        await self._connection.execute(_SHIFT, [f"{self._ahead.total_seconds()} s"])

    async def place(self, procedure: str, user_id: uuid.UUID, symbol: str, qty_micros: int, limit_px: int) -> float:
        """Microseconds inside the procedure. Raises MeasurementRefused unless the order was accepted."""
        statement = _PLACE_ONE.format(procedure=procedure)
        cursor = await self._connection.execute(statement, (user_id, symbol, qty_micros, limit_px), binary=True)
        row = await cursor.fetchone()
        if row is None or row[0] != "accepted":
            raise MeasurementRefused(f"{procedure}: {row}")
        return float(row[1])
