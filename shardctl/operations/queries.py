"""Operations in the control database: every write is one procedure, and the executor's writes carry the lease's number.

A write of a former leader raises LeaseLost and changes nothing. While the database is away everything here raises
`DatabaseAway`; whether a write that was sent was done is seen when it is read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from infra.runtime.database import Pool
from infra.runtime.procedures import CallFailed, call, connected
from shardctl.operations.errors import BY_SQLSTATE, LeaseLost, NoSuchOperation
from shardctl.operations.plan import Document, Plan
from shardctl.operations.states import WORKED_ON, State

LISTED_MAX: Final = 500
"""Operations in one answer: more than a screen, less than a second."""
EVENTS_MAX: Final = 500
"""In one answer to who watches; the next ask goes on behind them."""
PRUNED_AT_ONCE: Final = 2_000
"""Rows of each table in one call: some hundred milliseconds, and the lease can be renewed between two."""
SAMPLES_KEPT: Final = "2 hours"
"""Every few seconds: what a judge of a release that rolls now looks at."""
LONG_SAMPLES_KEPT: Final = "14 days"
"""One a minute: thirty pairs of windows of a workday, and the same weekday before."""
OPERATIONS_KEPT: Final = "400 days"
"""A year, and the month in which somebody asks about it."""
_COLUMNS: Final[LiteralString] = """
select o.operation_id, o.kind, o.version, o.arguments, o.target, o.cells, o.users, o.calls, o.state, o.state_hash,
       o.actor, o.reason, coalesce(a.subject, o.actor) as asked_by,
       case when a.number is null then o.reason else a.reason end as asked_because,
       o.approved_by, o.cancel_asked_by, o.lease_number, o.created_at, o.started_at, o.ended_at, o.exit_code, o.detail
  from control.operations o left join control.audit a on a.number = o.attempt
"""
_STEPS: Final[LiteralString] = """
select position, key, action, arguments, attempts_max, timeout_s, is_irrevocable, state, attempts, intent, progress,
       result, detail, begun_at, ended_at
  from control.operation_steps where operation_id = %s order by position
"""


@dataclass(frozen=True, slots=True)
class Operation:
    operation_id: int
    kind: str
    version: int
    arguments: Document
    target: str
    cells: Sequence[str]
    users: Sequence[UUID]
    calls: Sequence[str]
    """Cells whose own endpoints its steps call."""
    state: str
    state_hash: str
    actor: str
    reason: str | None
    asked_by: str
    """Who asked last that it goes on: for it, that it be resumed, or that what failed be undone."""
    asked_because: str | None
    approved_by: str | None
    cancel_asked_by: str | None
    lease_number: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    detail: str | None

    @property
    def because(self) -> str | None:
        """What cells and the map keep as the reason of its steps. Whose word it goes on by comes first, as it may be
        cut; the first person's stays beside it."""
        if (self.asked_by, self.asked_because) == (self.actor, self.reason):
            return self.reason
        first = f"operation {self.operation_id} of {self.actor}" + (f": {self.reason}" if self.reason else "")
        return f"{self.asked_because} ({first})" if self.asked_because else first


@dataclass(frozen=True, slots=True)
class StepRow:
    position: int
    key: str
    action: str
    arguments: Document
    attempts_max: int
    timeout_s: float
    is_irrevocable: bool
    state: str
    attempts: int
    intent: Document | None
    progress: Document | None
    result: Document | None
    detail: str | None
    begun_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Event:
    event_id: int
    operation_id: int
    at: datetime
    event: str
    step: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of an operation that somebody wants to go on or to be cancelled."""

    state: State
    goes_on: bool
    """By this very call: how it ends is the outcome of the attempt that made it."""


class Operations:
    """Needs a pool of `control_leader`. Raises what `errors.py` names, and a DatabaseFailure."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # ---- who asks ------------------------------------------------------------------------------------------------

    async def create(
        self,
        kind: str,
        version: int,
        arguments: Document,
        plan: Plan,
        *,
        state_hash: str,
        excludes: Mapping[str, str],
        attempt: int | None,
        actor: str,
        reason: str | None,
        key: str,
        needs_approval: bool,
    ) -> tuple[int, bool]:
        """Its number, and whether it is new: the same key and request answer with the operation that there is.
        `attempt`: the row of the audit chain that asks for it, whose outcome will be the operation's end; None: the
        clock is due, and a row is made if the operation begins. Raises KeyReused, Conflict."""
        document = {
            "target": plan.target,
            "state_hash": state_hash,
            "cells": sorted({*plan.cells, *plan.subjects}),
            "calls": list(plan.cells),
            "users": [str(user) for user in plan.users],
            "excludes": dict(excludes),
            "steps": [asdict(step) for step in plan.steps],
        }
        ((number, is_new),) = await self._call(
            "select operation_id, is_new from create_operation_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [kind, version, Jsonb(dict(arguments)), Jsonb(document), attempt, actor, reason, key, needs_approval],
        )
        return int(number), bool(is_new)

    async def cancel(
        self, operation: int, attempt: int, actor: str, reason: str | None, excludes: Mapping[str, str]
    ) -> Changed:
        """Raises NoSuchOperation, WrongState, NotUndone, Conflict."""
        return await self._change(
            operation,
            "select state, goes_on from cancel_operation_v1(%s, %s, %s, %s, %s)",
            [operation, attempt, actor, reason, Jsonb(dict(excludes))],
        )

    async def resume(
        self, operation: int, attempt: int, actor: str, reason: str | None, excludes: Mapping[str, str]
    ) -> Changed:
        """Raises NoSuchOperation, WrongState, Conflict."""
        return await self._change(
            operation,
            "select state, goes_on from resume_operation_v1(%s, %s, %s, %s, %s)",
            [operation, attempt, actor, reason, Jsonb(dict(excludes))],
        )

    async def approve(self, operation: int, actor: str, reason: str | None) -> State:
        """Raises NoSuchOperation, WrongState, SamePerson."""
        changed = await self._change(
            operation, "select approve_operation_v1(%s, %s, %s), false", [operation, actor, reason]
        )
        return changed.state

    async def read(self, operation: int) -> Operation:
        """Raises NoSuchOperation."""
        async with connected(self._pool) as connection, connection.cursor(row_factory=class_row(Operation)) as cursor:
            found = await (await cursor.execute(_COLUMNS + " where o.operation_id = %s", [operation])).fetchone()
        if found is None:
            raise NoSuchOperation(f"there is no operation {operation}: `shardctl operations list`")
        return found

    async def newest(self, limit: int, *, active: bool = False, kind: str | None = None) -> list[Operation]:
        """Newest first; `active`: only those that have not ended; `kind`: only of that one."""
        condition: LiteralString = (
            " where (not %s or o.exit_code is null) and o.kind = coalesce(%s, o.kind)"
            " order by o.operation_id desc limit %s"
        )
        given = [active, kind, min(limit, LISTED_MAX)]
        async with connected(self._pool) as connection, connection.cursor(row_factory=class_row(Operation)) as cursor:
            return await (await cursor.execute(_COLUMNS + condition, given)).fetchall()

    async def steps(self, operation: int) -> list[StepRow]:
        async with connected(self._pool) as connection, connection.cursor(row_factory=class_row(StepRow)) as cursor:
            return await (await cursor.execute(_STEPS, [operation])).fetchall()

    async def events(self, operation: int, after: int, limit: int = EVENTS_MAX) -> list[Event]:
        """In order, those after the event `after`."""
        async with connected(self._pool) as connection, connection.cursor(row_factory=class_row(Event)) as cursor:
            await cursor.execute(
                "select event_id, operation_id, at, event, step, detail from control.operation_events"
                " where operation_id = %s and event_id > %s order by event_id limit %s",
                [operation, after, min(limit, EVENTS_MAX)],
            )
            return await cursor.fetchall()

    # ---- who leads -----------------------------------------------------------------------------------------------

    async def acquire_lease(self, holder: str, life_s: float) -> int | None:
        """The number of a new lease; None while somebody else leads."""
        ((number,),) = await self._call("select acquire_lease_v1(%s, make_interval(secs => %s))", [holder, life_s])
        return None if number is None else int(number)

    async def renew_lease(self, lease: int, life_s: float) -> None:
        await self._call("select renew_lease_v1(%s, make_interval(secs => %s))", [lease, life_s])

    async def release_lease(self, lease: int) -> None:
        await self._call("select release_lease_v1(%s)", [lease])

    async def to_work_on(self) -> list[int]:
        """Numbers of the operations that the leader executes, oldest first."""
        rows = await self._call(
            "select operation_id from control.operations where state = any(%s) order by operation_id",
            [[str(state) for state in WORKED_ON]],
        )
        return [number for (number,) in rows]

    async def start(self, lease: int, operation: int, state_hash: str) -> State:
        ((state,),) = await self._call("select start_operation_v1(%s, %s, %s)", [lease, operation, state_hash])
        return State(state)

    async def begin_step(
        self, lease: int, operation: int, position: int, intent: Document | None, *, undo: bool = False
    ) -> Document:
        """The intent that stands: that of the first attempt. Raises CancelAsked."""
        ((stands,),) = await self._call(
            "select begin_step_v1(%s, %s, %s, %s, %s)",
            [lease, operation, position, None if intent is None else Jsonb(dict(intent)), undo],
        )
        return stands or {}

    async def checkpoint(self, lease: int, operation: int, position: int, progress: Document, detail: str) -> None:
        """Raises CancelAsked."""
        await self._call(
            "select checkpoint_step_v1(%s, %s, %s, %s, %s)",
            [lease, operation, position, Jsonb(dict(progress)), detail],
        )

    async def end_step(
        self, lease: int, operation: int, position: int, outcome: str, result: Document | None, detail: str | None
    ) -> None:
        """`outcome`: done, undone, failed or again."""
        await self._call(
            "select end_step_v1(%s, %s, %s, %s, %s, %s)",
            [lease, operation, position, outcome, None if result is None else Jsonb(dict(result)), detail],
        )

    async def end(self, lease: int, operation: int, state: State, exit_code: int | None, detail: str | None) -> None:
        await self._call(
            "select end_operation_v1(%s, %s, %s, %s, %s)",
            [lease, operation, str(state), None if exit_code is None else int(exit_code), detail],
        )

    async def _change(self, operation: int, sql: LiteralString, parameters: Sequence[Any]) -> Changed:
        ((state, goes_on),) = await self._call(sql, parameters)
        if state is None:
            raise NoSuchOperation(f"there is no operation {operation}: `shardctl operations list`")
        return Changed(State(state), goes_on)

    async def _call(self, sql: LiteralString, parameters: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        return await call_control(self._pool, sql, parameters)


async def call_control(pool: Pool, sql: LiteralString, parameters: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
    """`call`; what the control database's procedures refuse is raised as `errors.py` names it, in their sentence."""
    try:
        return await call(pool, sql, parameters)
    except CallFailed as error:
        refusal = BY_SQLSTATE.get(error.sqlstate)
        if refusal is None:
            raise
        raise refusal(_message(error)) from error


async def prune_control(dsn: str, lease: int) -> int:
    """Delete one piece of what is old: rows deleted, 0 when nothing is left. On a connection of its own, as it is no
    part of the service's work on operations. Raises LeaseLost, psycopg's OperationalError."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        try:
            cursor = await connection.execute(
                "select prune_control_v1(%s, %s::interval, %s::interval, %s::interval, %s)",
                [lease, SAMPLES_KEPT, LONG_SAMPLES_KEPT, OPERATIONS_KEPT, PRUNED_AT_ONCE],
            )
            ((deleted,),) = await cursor.fetchall()
        except psycopg.DatabaseError as error:
            if BY_SQLSTATE.get(error.sqlstate or "") is not LeaseLost:
                raise
            raise LeaseLost(str(error)) from error
    return int(deleted)


def _message(error: CallFailed) -> str:
    """The procedure's own sentence, without the context lines below it."""
    return str(error).removeprefix(f"{error.sqlstate}: ").partition("\n")[0]
