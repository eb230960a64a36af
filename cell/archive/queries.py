"""Statements of archiving: users with old history, and one step of one user.

They raise what the driver raises: `app.py` answers that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from cell.rows import fetch_values
from infra.runtime.database import Pool

# Cheap for everybody else: a user's oldest row that is not archived is the first of an index.
_USERS: LiteralString = """
select u.user_id,
       coalesce((select j.occurred_at < %(before)s from brokerage.journal_entries j
                  where j.user_id = u.user_id order by j.seq limit 1), false)
  from brokerage.users u
 where u.user_id > %(after)s and u.owner_state in ('active', 'halted')
 order by u.user_id
 limit %(limit)s
"""
_STEP: LiteralString = """
select state, last_seq, entries, postings, events, executions from archive_history_v1(%s, %s, %s, %s)
"""
_RECORD: LiteralString = "select record_act_v1(%s, 'archive', null, %s, %s)"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of one user did."""

    state: str
    last_seq: int | None
    entries: int
    postings: int
    events: int
    executions: int


async def next_users(pool: Pool, *, before: datetime, after: UUID, limit: int) -> list[tuple[UUID, bool]]:
    """The next users by id, and whether a user has anything older than `before`."""
    async with pool.connection() as connection:
        return await (await connection.execute(_USERS, {"before": before, "after": after, "limit": limit})).fetchall()


async def archive_step(pool: Pool, user_id: UUID, *, before: datetime, after_seq: int, limit: int) -> Step:
    async with pool.connection() as connection:
        [step] = await fetch_values(connection, Step, _STEP, [user_id, before, after_seq, limit])
    return step


async def record_archiving(
    pool: Pool, *, actor: str, reason: str, before: datetime, place: Mapping[str, object]
) -> None:
    """Keep who has the cell archived from there on, how old history, and why; before anything is moved."""
    details = Jsonb({"before": before.isoformat(), "place": dict(place)})
    async with pool.connection() as connection:
        await connection.execute(_RECORD, [actor, reason, details])
