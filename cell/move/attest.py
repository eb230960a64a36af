"""What a cell's copy of a user is, in numbers that two cells can compare: rows and a digest per table, and findings.

A digest is a sum over the rows of the two halves of each row's MD5, so it knows no order, and what was proven of a part
need not be read again. It shares nothing with what copies: that goes by JSON, this by the text of rows. MD5 is enough:
it is against faults, not against forgers, who could as well forge the rows.
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from psycopg import sql

from cell.move.tables import Change, UserTable
from infra.runtime.database import Connection

TEXT_OF_ROWS: Final[LiteralString] = (
    "select set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO', true),"
    " set_config('bytea_output', 'hex', true), set_config('extra_float_digits', '1', true)"
)
"""Of this transaction: two cells must print one row alike."""
_DIGEST: Final[LiteralString] = """
select {place}::integer as place, count(*) as total,
       coalesce(sum(('x' || left(d.hash, 16))::bit(64)::bigint::numeric), 0)::text as high,
       coalesce(sum(('x' || right(d.hash, 16))::bit(64)::bigint::numeric), 0)::text as low
  from (select md5(row({columns})::text) as hash from {table} t where {rows}) d
"""
_DIGEST_BITS: Final = 96
"""Of each half: a sum of 2**32 numbers of 64 bits."""
CHANGED_SINCE: Final[LiteralString] = "changed_since_v1(t.xmin, %(snapshot)s::pg_snapshot)"
"""Of the source: what the snapshot of the last look does not see."""
WRITTEN_HERE: Final[LiteralString] = "t.xmin = pg_current_xact_id()::xid"
"""Of the target: what this transaction has loaded."""


def rows_of(table: UserTable, attest: str, changed: LiteralString) -> LiteralString:
    """The condition of `all` rows or of those that `changed`."""
    if attest == "all" or table.change is Change.WHOLE:
        return table.mine
    return f"{table.mine} and {table.changed}".replace("{changed}", changed)


def digest_of(place: int, table: UserTable, columns: Sequence[str], rows: LiteralString) -> sql.Composed:
    """A query of one row: place, number of rows, and the two halves of their digest."""
    return sql.SQL(_DIGEST).format(
        place=sql.Literal(place),
        columns=sql.SQL(", ").join(sql.Identifier("t", column) for column in columns),
        table=sql.Identifier(*table.name.split(".")),
        rows=sql.SQL(rows),
    )


def spell_digest(high: str, low: str) -> str:
    """Hexadecimal."""
    return "".join(f"{int(half) % 2**_DIGEST_BITS:0{_DIGEST_BITS // 4}x}" for half in (high, low))


async def digests(
    connection: Connection,
    asked: Sequence[tuple[UserTable, Sequence[str], LiteralString]],
    parameters: dict[str, Any],
) -> dict[str, tuple[int, str]]:
    """Rows and digest by table, in one statement; `TEXT_OF_ROWS` was set in this transaction."""
    if not asked:
        return {}
    queries = [digest_of(place, *each) for place, each in enumerate(asked)]
    statement = sql.SQL(" union all ").join(queries)
    rows = await (await connection.execute(statement, parameters, prepare=True)).fetchall()
    return {asked[place][0].name: (total, spell_digest(high, low)) for place, total, high, low in rows}


_FINDINGS: Final[LiteralString] = """
with mine as (select * from brokerage.users where user_id = %(user)s),
entries as (
    select e.seq, e.entry_id, e.kind, e.order_id, e.occurred_at, e.previous_hash, e.hash
      from all_journal_entries e where e.user_id = %(user)s and e.seq > %(entry_seq)s
),
lines as (
    select p.entry_seq, string_agg(p.line || ',' || p.account || ',' || p.unit || ',' || p.direction || ','
                                   || p.amount_micros, ';' order by p.line) as text
      from all_postings p where p.user_id = %(user)s and p.entry_seq > %(entry_seq)s group by p.entry_seq
),
balances as (
    select p.account, p.unit,
           sum(case p.direction when 'credit' then p.amount_micros::numeric else -p.amount_micros::numeric end) as held
      from all_postings p
     where p.user_id = %(user)s and p.account in ('cash', 'cash_held', 'shares', 'shares_held')
     group by p.account, p.unit
)
select 'chain_verifies', count(*) from (
    select from entries e left join lines l on l.entry_seq = e.seq
     where e.hash <> sha256(e.previous_hash || convert_to(concat_ws('|', '1', %(user)s::uuid, e.seq, e.entry_id, e.kind,
           coalesce(e.order_id::text, '-'), trunc(extract(epoch from e.occurred_at) * 1000000), l.text), 'UTF8'))
    union all
    select from entries e left join all_journal_entries b on b.user_id = %(user)s and b.seq = e.seq - 1
     where e.previous_hash <> coalesce(b.hash, decode(repeat('00', 32), 'hex'))
    union all
    select from mine m
     where m.chain_head is distinct from coalesce(
           (select b.hash from all_journal_entries b where b.user_id = %(user)s and b.seq = m.entry_seq),
           case when m.entry_seq = 0 then decode(repeat('00', 32), 'hex') end)) as broken
union all
select 'cash_equals_postings', count(*) from mine m
 where m.cash_micros <> coalesce((select held from balances where account = 'cash' and unit = 'USD'), 0)
    or m.cash_held_micros <> coalesce((select held from balances where account = 'cash_held' and unit = 'USD'), 0)
union all
select 'shares_equal_postings', count(*)
  from (select symbol, qty_micros - qty_held_micros as free, qty_held_micros as held
          from brokerage.positions where user_id = %(user)s) p
  full join (select unit, coalesce(sum(held) filter (where account = 'shares'), 0) as free,
                    coalesce(sum(held) filter (where account = 'shares_held'), 0) as held
               from balances where account in ('shares', 'shares_held') group by unit) b on b.unit = p.symbol
 where coalesce(p.free, 0) <> coalesce(b.free, 0) or coalesce(p.held, 0) <> coalesce(b.held, 0)
union all
select 'holds_equal_open_orders', count(*) from mine m
 where m.cash_held_micros <> coalesce((select sum(o.held_cash_micros) from brokerage.orders o
                                        where o.user_id = %(user)s and o.is_open), 0)
"""


async def find(connection: Connection, user_id: object, entry_seq: int) -> dict[str, int]:
    """What is wrong with this cell's copy of the user, by name; all zero means whole. The chain is recomputed from
    `entry_seq` on, the balances are folds over everything."""
    rows = await (await connection.execute(_FINDINGS, {"user": user_id, "entry_seq": entry_seq})).fetchall()
    return {name: number for name, number in rows}
