"""Who may not be moved, and which moves there were: in the control database.

Reads and the holds are any operator's; a move is recorded by the leader, with the lease's number. Raises psycopg's own
errors if the connection fails, LeaseLost for a former leader.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from shardctl.errors import NotReachable
from shardctl.moves.driver import Move
from shardctl.operations.errors import LeaseLost

LISTED_MAX: Final = 500
"""Moves in one answer: nobody moves that often."""
PAUSES_LOOKED_AT: Final = 100
"""The newest moves, of which a plan says how long the pause will be."""
_MOVES: LiteralString = """
select move_id, operation_id, user_id, from_cell, to_cell, ownership_epoch, actor, reason, pause_us, receipt,
       recorded_at
  from control.moves
"""
_FORMER_LEADER: Final = "RBC10"


@dataclass(frozen=True, slots=True)
class Hold:
    user_id: UUID
    actor: str
    reason: str
    held_at: datetime


@dataclass(frozen=True, slots=True)
class RecordedMove:
    move_id: UUID
    operation_id: int
    user_id: UUID
    from_cell: str
    to_cell: str
    ownership_epoch: int
    actor: str
    reason: str | None
    pause_us: int | None
    receipt: str
    recorded_at: datetime


class MoveRecords:
    def __init__(self, connection: psycopg.AsyncConnection[Any], lease: int | None = None) -> None:
        self._connection = connection
        self._lease = lease

    async def hold(self, user_id: UUID, actor: str, reason: str) -> bool:
        """Is it new?"""
        return bool(await self._one("select hold_user_v1(%s, %s, %s)", [user_id, actor, reason]))

    async def unhold(self, user_id: UUID) -> bool:
        """Was there a hold?"""
        return bool(await self._one("select unhold_user_v1(%s)", [user_id]))

    async def holds(self, users: Sequence[UUID]) -> list[Hold]:
        """Of these users, by user id."""
        async with self._connection.cursor(row_factory=class_row(Hold)) as cursor:
            await cursor.execute(
                "select user_id, actor, reason, held_at from control.held_users where user_id = any(%s)"
                " order by user_id",
                [list(users)],
            )
            return await cursor.fetchall()

    async def of_user(self, user_id: UUID) -> list[RecordedMove]:
        """Newest first."""
        return await self._moves(" where user_id = %s order by ownership_epoch desc limit %s", [user_id, LISTED_MAX])

    async def of_operation(self, operation: int) -> list[RecordedMove]:
        """By user, as the operation moved them."""
        return await self._moves(" where operation_id = %s order by ownership_epoch", [operation])

    async def pauses_us(self) -> list[int]:
        """Of the newest moves that could measure it, shortest first."""
        cursor = await self._connection.execute(
            "select pause_us from (select pause_us from control.moves where pause_us is not null"
            " order by recorded_at desc limit %s) newest order by 1",
            [PAUSES_LOOKED_AT],
        )
        return [pause_us for (pause_us,) in await cursor.fetchall()]

    async def record(
        self, move: Move, operation: int, *, actor: str, reason: str | None, pause_us: int | None, receipt: str
    ) -> str:
        """The receipt that is kept: that of the first call. Raises LeaseLost."""
        values = [
            self._lease, move.move_id, operation, move.user_id, move.source, move.target, move.ownership_epoch, actor,
            reason, pause_us, receipt,
        ]  # fmt: skip
        return str(await self._one("select record_move_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", values))

    async def _moves(self, condition: LiteralString, given: Sequence[Any]) -> list[RecordedMove]:
        async with self._connection.cursor(row_factory=class_row(RecordedMove)) as cursor:
            await cursor.execute(_MOVES + condition, given)
            return await cursor.fetchall()

    async def _one(self, statement: LiteralString, given: Sequence[Any]) -> Any:
        try:
            row = await (await self._connection.execute(statement, given)).fetchone()
        except psycopg.DatabaseError as error:
            if error.sqlstate == _FORMER_LEADER:
                raise LeaseLost(str(error)) from error
            raise
        assert row is not None
        return row[0]


@asynccontextmanager
async def open_move_records(dsn: str, *, lease: int | None = None) -> AsyncIterator[MoveRecords]:
    """On a connection of its own. Raises NotReachable."""
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise NotReachable(f"the control database does not answer: {error}") from error
    async with connection:
        yield MoveRecords(connection, lease)
