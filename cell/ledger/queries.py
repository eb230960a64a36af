"""Reads of one user's journal.

They raise 404, 421 and 503 as `check_owner` does, and what the driver raises: `app.py` answers that.
"""

from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from cell.ownership.guard import check_owner
from infra.runtime.database import Pool

_DESCENDING: LiteralString = """
select e.entry_id, e.seq, e.kind, e.order_id, e.occurred_at, e.hash, e.previous_hash,
       (select json_agg(json_build_array(p.account, p.unit, p.direction, p.amount_micros) order by p.line)
          from all_postings p
         where p.user_id = e.user_id and p.entry_seq = e.seq) as postings
  from all_journal_entries e
 where e.user_id = %s and (%s::bigint is null or e.seq < %s)
 order by e.seq desc
 limit %s
"""

_ASCENDING: LiteralString = """
select e.entry_id, e.seq, e.kind, e.order_id, e.occurred_at, e.hash, e.previous_hash,
       (select json_agg(json_build_array(p.account, p.unit, p.direction, p.amount_micros) order by p.line)
          from all_postings p
         where p.user_id = e.user_id and p.entry_seq = e.seq) as postings
  from all_journal_entries e
 where e.user_id = %s and (%s::bigint is null or e.seq > %s)
 order by e.seq
 limit %s
"""


async def list_entries(
    pool: Pool, user_id: UUID, *, after: int | None, descending: bool, limit: int
) -> list[dict[str, Any]]:
    """Entries beyond `after`, each with its postings in line order: account, unit, direction, amount in micros. Raises
    Problem."""
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_DESCENDING if descending else _ASCENDING, [user_id, after, after, limit])
            rows = await cursor.fetchall()
        await check_owner(connection, user_id)
    return rows
