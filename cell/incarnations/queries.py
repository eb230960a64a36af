"""The newest incarnation, and opening it. They raise what the driver raises: `app.py` answers that."""

from collections.abc import Sequence
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
select user_id from brokerage.users
 where halt_id = %(incarnation)s and owner_state = 'halted' and (%(after)s::uuid is null or user_id > %(after)s)
 order by user_id limit %(limit)s
"""
_OPEN: LiteralString = "select outcome, figures from open_cell_v1(%s, %s, %s, %s, %s, %s, %s)"


async def newest_incarnation(pool: Pool) -> dict[str, Any] | None:
    """None: the database was never restored."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(_NEWEST)).fetchone()


async def halted_users(pool: Pool, *, incarnation: UUID, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Who stayed read-only when it was opened."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_HALTED, {"incarnation": incarnation, "after": after, "limit": limit})
        return await cursor.fetchall()


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
