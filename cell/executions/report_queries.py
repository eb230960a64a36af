"""Statements of the way in: reports from the socket to the books. Every call raises a DatabaseFailure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, LiteralString
from uuid import UUID

from cell.executions.report import ExecutionReport
from cell.rows import fetch_values
from infra.runtime.database import Pool
from infra.runtime.procedures import connected

_RECEIVED: Final[LiteralString] = """
select received_seq from brokerage.venue_sessions where venue = %s and session = %s
"""
_ACCEPT: Final[LiteralString] = """
select received_seq, inbox_id, user_id
  from accept_reports_v1(%s, %s, %b::bigint[], %b::uuid[], %b::text[]::jsonb[], %s)
"""
_APPLY: Final[LiteralString] = """
select inbox_id, outcome, reason, user_id, order_id from apply_reports_v1(%b::bigint[], %s)
"""
_NAMED: Final[LiteralString] = "select order_id, user_id from brokerage.inbox where id = %s"
_END_EARLY: Final[LiteralString] = "select inbox_id, order_id, reason from end_early_reports_v1(%s, %s)"
_COUNT_EARLY: Final[LiteralString] = "select count(*) from brokerage.early_reports"
_QUARANTINE: Final[LiteralString] = "select quarantine_report_v1(%s, %s, %s)"
_UNAPPLIED_OF: Final[LiteralString] = "select id from brokerage.inbox where user_id = %s order by id limit %s"
_UNAPPLIED: Final[LiteralString] = "select id, user_id from brokerage.inbox where id > %s order by id limit %s"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A committed batch of reports: how far the session is, and what is new as (inbox id, user id or None)."""

    received_seq: int
    fresh: list[tuple[int, UUID | None]]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one inbox row."""

    inbox_id: int
    outcome: str
    reason: str | None
    user_id: UUID | None
    order_id: UUID | None


async def received_seq(pool: Pool, venue: str, session: str) -> int:
    """The highest report number of the session that is committed here."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_RECEIVED, (venue, session))).fetchone()
    return 0 if row is None else int(row[0])


async def accept_reports(
    pool: Pool, *, venue: str, session: str, reports: Sequence[ExecutionReport], at: datetime
) -> Accepted:
    """Commit reports to the inbox. Raises with SQLSTATE RB020 on a gap."""
    values = (
        venue,
        session,
        [report.seq for report in reports],
        [report.order_id for report in reports],
        [report.body for report in reports],
        at,
    )
    async with connected(pool) as connection:
        rows = await (await connection.execute(_ACCEPT, values)).fetchall()
    return Accepted(int(rows[0][0]), [(row[1], row[2]) for row in rows if row[1] is not None])


async def apply_reports(pool: Pool, inbox_ids: Sequence[int], *, settles_on: date) -> list[Applied]:
    """Apply reports, at most one per user."""
    async with connected(pool) as connection:
        return await fetch_values(connection, Applied, _APPLY, (list(inbox_ids), settles_on))


async def named_by(pool: Pool, inbox_id: int) -> dict[str, UUID | None]:
    """Order and user of a report, as fields of a line; none if it left the inbox."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_NAMED, (inbox_id,))).fetchone()
    return {} if row is None else {"order_id": row[0], "user_id": row[1]}


async def quarantine_report(pool: Pool, inbox_id: int, reason: str, at: datetime) -> None:
    """Put a report aside that cannot be applied."""
    async with connected(pool) as connection:
        await connection.execute(_QUARANTINE, (inbox_id, reason, at))


async def end_early_reports(pool: Pool, at: datetime, limit: int) -> list[tuple[int, UUID, str]]:
    """Put reports aside that have waited long enough; (inbox id, order, reason) of each."""
    async with connected(pool) as connection:
        rows = await (await connection.execute(_END_EARLY, (at, limit))).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


async def count_early(pool: Pool) -> int:
    """How many reports wait for an execution, or for room in their order."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_COUNT_EARLY)).fetchone()
    return 0 if row is None else int(row[0])


async def unapplied_reports(pool: Pool, after_id: int, limit: int) -> list[tuple[int, UUID | None]]:
    """Inbox rows that an earlier worker left, in order of id."""
    async with connected(pool) as connection:
        rows = await (await connection.execute(_UNAPPLIED, (after_id, limit))).fetchall()
    return [(row[0], row[1]) for row in rows]


async def unapplied_reports_of(pool: Pool, user_id: UUID, limit: int) -> list[int]:
    """The user's oldest inbox rows, in order of id."""
    async with connected(pool) as connection:
        rows = await (await connection.execute(_UNAPPLIED_OF, (user_id, limit))).fetchall()
    return [row[0] for row in rows]
