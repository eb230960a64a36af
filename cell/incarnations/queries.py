"""The newest incarnation, and opening it; the figures by which a restored copy is compared with its source. They raise
what the driver raises: `app.py` answers that."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from infra.runtime.database import Pool
from infra.runtime.procedures import call

FENCE: LiteralString = "select fence_cell_v1(%s, %s, %s, %s, %s)"

_NEWEST: LiteralString = """
select incarnation_id, began_at, backup, restored_to, actor, reason, opened_at, opened_by, opened_reason, opened_run,
       despite, users_halted
  from brokerage.incarnations order by began_at desc limit 1
"""
_HALTED: LiteralString = """
select u.user_id, w.reports as reports_waiting, w.orders as orders_waited_for
  from brokerage.users u join brokerage.incarnations n on n.incarnation_id = u.halt_id
  cross join lateral (select count(*) as reports, coalesce(array_agg(distinct i.order_id::text), '{}') as orders
                        from brokerage.inbox i where i.user_id = u.user_id) w
 where u.owner_state = 'halted' and (%(after)s::uuid is null or u.user_id > %(after)s)
 order by u.user_id limit %(limit)s
"""
_RELEASE: LiteralString = "select release_restored_user_v1(%s, %s, %s, %s, %s, %s)"
_OPEN: LiteralString = "select outcome, figures from open_cell_v1(%s, %s, %s, %s, %s, %s, %s)"

_FIGURES: LiteralString = """
with page as materialized (
    select user_id, created_at, write_seq, entry_seq, order_event_seq, chain_head, cash_micros, cash_held_micros
      from brokerage.users
     where purged_at is null and (%(after)s::uuid is null or user_id > %(after)s)
       and (%(until)s::uuid is null or user_id <= %(until)s)
     order by user_id limit %(limit)s
),
wanted as materialized (select array_agg(user_id) as ids from page),
digests as (
    select o.user_id, 'orders' as name, count(*) as number, sum(hashtextextended(o::text, 0)) as digest
      from brokerage.orders o, wanted w where o.user_id = any (w.ids) group by o.user_id
    union all
    select p.user_id, 'positions', count(*), sum(hashtextextended(p::text, 0))
      from brokerage.positions p, wanted w where p.user_id = any (w.ids) group by p.user_id
    union all
    select x.user_id, 'executions', count(*), sum(hashtextextended(x::text, 0))
      from all_executions x, wanted w where x.user_id = any (w.ids) group by x.user_id
    union all
    select l.user_id, 'lots', count(*), sum(hashtextextended(l::text, 0))
      from brokerage.unsettled_lots l, wanted w where l.user_id = any (w.ids) group by l.user_id
),
by_user as (
    select user_id, jsonb_object_agg(name, number) as numbers, jsonb_object_agg(name, digest::text) as digests
      from digests group by user_id
)
select p.user_id, p.created_at, p.write_seq, p.entry_seq, p.order_event_seq, p.chain_head, p.cash_micros,
       p.cash_held_micros, coalesce(d.numbers, '{}') as numbers, coalesce(d.digests, '{}') as digests
  from page p left join by_user d on d.user_id = p.user_id
 order by p.user_id
"""
_HASHES: LiteralString = """
select j.user_id, j.hash
  from unnest(%(users)s::uuid[], %(seqs)s::bigint[]) as t (user_id, seq)
  -- numbers that a restore has lost are nobody's: the chain goes on from the entry before them
  cross join lateral (select j.user_id, j.hash from all_journal_entries j
                       where j.user_id = t.user_id and j.seq <= t.seq order by j.seq desc limit 1) j
"""
_YOUNGEST: LiteralString = "select max(created_at) as created_at from brokerage.users"


async def newest_incarnation(pool: Pool) -> dict[str, Any] | None:
    """None: the database was never restored."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(_NEWEST)).fetchone()


async def halted_users(pool: Pool, *, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Who stayed read-only when the cell was opened after a restore, of this incarnation or of one before."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_HALTED, {"after": after, "limit": limit})
        return await cursor.fetchall()


async def release_user(
    pool: Pool, *, actor: str, reason: str, user: UUID, orders: int, ledger: int, write_seq: int
) -> str:
    """Outcome of `release_restored_user_v1`. Raises a DatabaseFailure."""
    [(outcome,)] = await call(pool, _RELEASE, [actor, reason, user, orders, ledger, write_seq])
    return str(outcome)


async def open_cell(
    pool: Pool,
    *,
    actor: str,
    reason: str,
    despite: bool,
    venue: str,
    session: str,
    received_seq: int,
    halted: Sequence[UUID],
) -> tuple[str, dict[str, Any]]:
    """Outcome and figures of `open_cell_v1`. Raises a DatabaseFailure."""
    values = [actor, reason, despite, venue, session, received_seq, list(halted)]
    [(outcome, figures)] = await call(pool, _OPEN, values)
    return str(outcome), dict(figures)


async def user_figures(
    pool: Pool, *, after: UUID | None, until: UUID | None, limit: int | None
) -> list[dict[str, Any]]:
    """By user, in order: heads, cash, and digests of whole rows; beyond `after`, up to `until`."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_FIGURES, {"after": after, "until": until, "limit": limit})
        return await cursor.fetchall()


async def entry_hashes(pool: Pool, seqs: Mapping[UUID, int]) -> dict[UUID, bytes]:
    """The hash of each user's last entry up to that number; nothing for who has none."""
    parameters = {"users": list(seqs), "seqs": list(seqs.values())}
    async with pool.connection() as connection:
        rows = await (await connection.execute(_HASHES, parameters)).fetchall()
    return dict(rows)


async def youngest_user(pool: Pool) -> datetime | None:
    """When they were made; None without users."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_YOUNGEST)).fetchone()
    return row[0] if row else None
