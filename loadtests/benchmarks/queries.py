"""What a measurement on a cell of its own asks of the database: customers to begin with, and what is there at the end.

Customers come in by the shipped procedures, as through the cell; only counting and `vacuum` are the superuser's.
"""

import uuid
from collections.abc import Sequence
from typing import LiteralString

import psycopg

from loadtests.benchmarks.orders_per_second import MeasurementRefused

_OPEN: LiteralString = "select 1 from brokerage.open_account_v1(%s, 1, 'professional', %s, null, 'x', now())"
_DEPOSIT: LiteralString = """
select count(*) filter (where outcome = 'accepted')
  from brokerage.deposit_cash_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], %b::bigint[], now())
"""
_PLACE: LiteralString = """
select count(*) filter (where p.outcome = 'accepted')
  from (select %b::uuid[] as users, array[cardinality(%b::uuid[])] as size) n
 cross join lateral brokerage.place_orders_v1(
       n.users, array_fill(%s::text, n.size), array_fill(decode('00', 'hex'), n.size),
       array(select uuidv7() from unnest(n.users)), array_fill(null::text, n.size), array_fill(%s::text, n.size),
       array_fill('buy'::text, n.size), array_fill('limit'::text, n.size), array_fill('day'::text, n.size),
       array_fill(1000000::bigint, n.size), array_fill(%s::bigint, n.size), clock_timestamp(),
       interval '1 hour', true) p
"""
_PRICE: LiteralString = "select brokerage.set_reference_prices_v1(array[%s], array[%s::bigint], now())"
_COUNT: LiteralString = """
select (select count(*) from brokerage.orders),
       (select count(*) from brokerage.executions),
       (select count(*) from brokerage.inbox),
       (select count(*) from brokerage.venue_instructions)
"""
AT_ONCE = 64


async def open_customers(
    service_dsn: str, count: int, *, cash_micros: int, symbol: str, px_micros: int
) -> list[uuid.UUID]:
    """Professional customers with cash, and a market in one symbol."""
    users = [uuid.uuid4() for _ in range(count)]
    async with await psycopg.AsyncConnection.connect(service_dsn, autocommit=True) as connection:
        await connection.execute(_PRICE, [symbol, px_micros])
        for start in range(0, count, AT_ONCE):
            part = users[start : start + AT_ONCE]
            async with connection.pipeline():
                for user_id in part:
                    await connection.execute(_OPEN, [user_id, f"{user_id}@customers.example"])
            keys = [uuid.uuid4() for _ in part]
            arrays = (part, [str(key) for key in keys], [b"deposit"] * len(part), keys, [cash_micros] * len(part))
            row = await (await connection.execute(_DEPOSIT, arrays)).fetchone()
            if row != (len(part),):
                raise MeasurementRefused("a deposit was refused")
    return users


async def place_under_key(service_dsn: str, users: Sequence[uuid.UUID], key: str, symbol: str, px_micros: int) -> None:
    """One limit buy of every customer, all under the same key, so that it can be replayed."""
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

    async def reports_waiting(self) -> int:
        """Cheap, to be asked often: 0 or 1."""
        row = await (
            await self._connection.execute("select count(*) from (select from brokerage.inbox limit 1) x")
        ).fetchone()
        assert row is not None
        return int(row[0])
