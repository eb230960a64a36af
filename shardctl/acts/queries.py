"""The record of privileged acts in the control database: append one half of an act, read the newest acts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from shardctl.errors import NotReachable

ACTS_MAX: Final = 1_000
"""Acts in one answer: more than a screen, less than a burden."""
ACTOR_MAX: Final = 200
"""Characters of an actor's name, as the table keeps it."""
REASON_MAX: Final = 2_000
"""Characters, as the table and the map's history keep them."""
DETAIL_MAX: Final = 2_000
"""Characters that the table keeps of an error message."""
_CONNECT_TIMEOUT_S: Final = 5
"""As for the shard map: the database is on the local network or away."""

_RECORD: LiteralString = "select record_act_v1(%s, %s, %s, %s, %s, %s, %s, %s)"

_NEWEST: LiteralString = """
select b.entry_id, b.at, b.actor, b.act, b.target, b.reason, b.arguments, e.outcome, e.detail, e.at
  from control.privileged_acts b
  left join control.privileged_acts e on e.completes = b.entry_id
 where b.completes is null
 order by b.entry_id desc
 limit %s
"""


@dataclass(frozen=True, slots=True)
class Act:
    """One act; `outcome` is None while it runs, and for ever if the command was killed before it could say."""

    act_id: int
    begun_at: datetime
    actor: str
    act: str
    target: str
    reason: str | None
    arguments: Mapping[str, Any]
    outcome: str | None
    detail: str | None
    ended_at: datetime | None


class ActRecord:
    """Needs an autocommit connection of `control_owner`; open it with `open_act_record`."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def begin(
        self, act: str, target: str, *, actor: str, reason: str | None, arguments: Mapping[str, Any]
    ) -> int:
        """Record that an act begins; returns its number."""
        return await self._append([None, actor, act, target, reason, Jsonb(dict(arguments)), None, None])

    async def complete(self, act_id: int, outcome: str, detail: str | None = None) -> None:
        """Record how an act ended: done, refused, failed or interrupted. Once."""
        detail = None if detail is None else detail[:DETAIL_MAX]
        await self._append([act_id, None, None, None, None, None, outcome, detail])

    async def newest(self, limit: int) -> list[Act]:
        """Newest first, at most `ACTS_MAX`."""
        cursor = await self._connection.execute(_NEWEST, [min(limit, ACTS_MAX)])
        return [Act(*row) for row in await cursor.fetchall()]

    async def _append(self, values: list[Any]) -> int:
        row = await (await self._connection.execute(_RECORD, values)).fetchone()
        if row is None or row[0] is None:
            raise ValueError(f"act {values[0]} does not exist or has ended")
        return int(row[0])


@asynccontextmanager
async def open_act_record(dsn: str) -> AsyncIterator[ActRecord]:
    """The record, on a connection of its own. Raises NotReachable, also when the connection is lost meanwhile."""
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S
        ) as connection:
            # A row is inserted in milliseconds; a database that hangs must not hang the command.
            await connection.execute("set statement_timeout = '5s'")
            yield ActRecord(connection)
    except psycopg.OperationalError as error:
        raise NotReachable(f"the control database does not answer: {error}") from error
