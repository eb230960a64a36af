"""The audit chain in the control database: append an attempt, append how it ended, read.

Nothing here edits a row, and the database lets nobody. What is appended is chained by the database itself
(`control.chain_audit_row`), one transaction after the other: about what the disk commits one by one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, LiteralString

import psycopg
from psycopg.types.json import Json

from infra.runtime.database import Pool
from infra.runtime.procedures import call
from shardctl.audit.head import Head
from shardctl.audit.limits import LISTED_MAX, PAGE_ROWS, TARGET_MAX
from shardctl.audit.row import GENESIS_HASH, AuditRow
from shardctl.errors import NotReachable

_CONNECT_TIMEOUT_S: Final = 5
"""As for the shard map: the database is on the local network or away."""
_APPEND: LiteralString = "select append_audit_v1(%s, %s, %s, %s, %s, %s, %s)"
_END: LiteralString = "select end_audit_v1(%s, %s, %s)"
_END_REQUEST: LiteralString = "select end_request_v1(%s, %s, %s)"
_TIME: LiteralString = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""
_NEWEST: LiteralString = """
select b.number, b.at, b.subject, b.role, b.way, b.act, b.target, b.reason, b.arguments, e.outcome, e.detail, e.at
  from control.audit b
  left join control.audit e on e.ends = b.number
 where b.ends is null
   and b.at >= coalesce(%s, '-infinity'::timestamptz) and b.at < coalesce(%s, 'infinity'::timestamptz)
   and b.subject = coalesce(%s, b.subject) and b.act = coalesce(%s, b.act) and b.target = coalesce(%s, b.target)
 order by b.number desc
 limit %s
"""
_ROWS: LiteralString = f"""
select number, to_char(at at time zone 'UTC', {_TIME}), ends, subject, role, way, act, target, arguments::text, reason,
       outcome, detail, encode(previous_hash, 'hex'), encode(hash, 'hex')
  from control.audit where number > %s order by number limit %s
"""
_HEAD: LiteralString = f"""
select coalesce(max(number), 0), coalesce(encode((array_agg(hash))[1], 'hex'), %s),
       to_char(clock_v1() at time zone 'UTC', {_TIME})
  from (select number, hash from control.audit order by number desc limit 1) newest
"""
_BEFORE: LiteralString = """
select coalesce((select number - 1 from control.audit where at >= %s order by at, number limit 1),
                (select max(number) from control.audit), 0)
"""

Call = Callable[[LiteralString, Sequence[Any]], Awaitable[Sequence[tuple[Any, ...]]]]
"""The rows of one statement."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who attempts something, as it is recorded."""

    subject: str
    role: str
    way: str
    """How it was known: `socket`, `oidc`, `command`, `schedule`."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt and how it ended; `outcome` is None while it runs, and for ever if whoever made it was killed before
    it could say."""

    number: int
    at: datetime
    subject: str
    role: str
    way: str
    act: str
    target: str
    reason: str | None
    arguments: Mapping[str, Any]
    outcome: str | None
    detail: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which attempts to list; None: any. `since` is included, `until` is not."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    act: str | None = None
    target: str | None = None
    limit: int = 20


class Audit:
    """Needs `control_leader` or `control_owner`. Raises what `call` raises."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def begin(self, who: Who, act: str, target: str, *, reason: str | None, arguments: Mapping[str, Any]) -> int:
        """Record an attempt, before it is made; returns its number."""
        values = [who.subject, who.role, who.way, act, target[:TARGET_MAX], reason, Json(dict(arguments))]
        ((number,),) = await self._call(_APPEND, values)
        return int(number)

    async def end(self, attempt: int, outcome: str, detail: str | None = None) -> bool:
        """Record how it ended: done, refused, failed or interrupted; of `detail` the table keeps 2,000 characters.
        False: that is recorded already, or there is no such attempt."""
        ((number,),) = await self._call(_END, [attempt, outcome, detail])
        return number is not None

    async def end_request(self, attempt: int, outcome: str, detail: str | None = None) -> bool:
        """As `end`, of a request whose effect is not certain: False also if an operation goes on by it, which will say
        how it ended."""
        ((number,),) = await self._call(_END_REQUEST, [attempt, outcome, detail])
        return number is not None

    async def newest(self, wanted: Wanted) -> list[Attempt]:
        """Newest first, at most `LISTED_MAX`."""
        values = [wanted.since, wanted.until, wanted.actor, wanted.act, wanted.target, min(wanted.limit, LISTED_MAX)]
        return [Attempt(*row) for row in await self._call(_NEWEST, values)]

    async def rows(self, after: int, limit: int = PAGE_ROWS) -> list[AuditRow]:
        """In their order, those after the row `after`, as they are hashed."""
        return [AuditRow(*row) for row in await self._call(_ROWS, [after, min(limit, PAGE_ROWS)])]

    async def head(self) -> Head:
        """The last row, and what time it is."""
        ((number, digest, at),) = await self._call(_HEAD, [GENESIS_HASH])
        return Head(int(number), digest, at)

    async def before(self, moment: datetime) -> int:
        """The number before the first row of that time or later."""
        ((number,),) = await self._call(_BEFORE, [moment])
        return int(number)


def audit_of(pool: Pool) -> Audit:
    """Of the service. Its methods raise a DatabaseFailure."""
    return Audit(partial(call, pool))


@asynccontextmanager
async def open_audit(dsn: str) -> AsyncIterator[Audit]:
    """Of a command, on a connection of its own. Raises NotReachable, also when the connection is lost meanwhile."""
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S
        ) as connection:
            # A row is inserted in milliseconds; a database that hangs must not hang the command.
            await connection.execute("set statement_timeout = '5s'")

            async def call_on_it(sql: LiteralString, parameters: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
                return await (await connection.execute(sql, parameters)).fetchall()

            yield Audit(call_on_it)
    except psycopg.OperationalError as error:
        raise NotReachable(f"the control database does not answer: {error}") from error
