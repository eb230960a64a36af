"""Be the one process of a cell that does a task: the worker, the relay.

The leadership is a table lock in a transaction that stays open and does nothing else: it has no snapshot and no number
of its own, so it holds back no vacuum. Only the service's procedure can take that lock (`take_leadership_v1`); who may
read the database, its auditor for one, can neither take it nor be in its way. It ends with the database session,
whatever ended that, and the next one takes over. Two may overlap for a moment, until the first one notices: whoever
works under a leadership must be harmless then, and looks now and then (`check`).
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final, LiteralString
from uuid import UUID

from infra.runtime.database import Connection
from infra.runtime.procedures import failures_named

# Read committed: a stronger isolation would keep its first snapshot, and vacuum would wait for it. The limits on idle
# and long transactions are for forgotten ones.
_BEGIN: Final[tuple[LiteralString, ...]] = (
    "begin transaction isolation level read committed read write",
    "set local idle_in_transaction_session_timeout = 0",
    "set local transaction_timeout = 0",
)
_INCARNATION: Final[LiteralString] = """
select incarnation_id::text, opened_at is null from brokerage.incarnations order by began_at desc limit 1
"""
_TAKE: Final[LiteralString] = "select take_leadership_v1(%s)"
_START_TERM: Final[LiteralString] = "select start_term_v1(%s, %s)"
_CHECK: Final[LiteralString] = "select 1"
_END: Final[LiteralString] = "rollback"

_log = logging.getLogger(__name__)


class Task(StrEnum):
    """What one process of a cell does at a time."""

    WORKER = "worker"
    RELAY = "relay"


@asynccontextmanager
async def leading(connection: Connection, task: Task, *, incarnation: str = "") -> AsyncIterator[bool]:
    """Lead while the block runs, or False: somebody else does, the cell is fenced, or this is another incarnation of
    its database than belongs here. The connection is for nothing else meanwhile.

    Raises what the driver raises when the database is away; inside `connected` that is a DatabaseFailure.
    """
    if not await _may_lead(connection, incarnation):
        yield False
        return
    for statement in _BEGIN:
        await connection.execute(statement)
    try:
        row = await (await connection.execute(_TAKE, (str(task),))).fetchone()
        yield row is not None and bool(row[0])
    finally:
        # A connection that was lost has taken its lock along.
        if not connection.closed:
            await connection.execute(_END)


async def _may_lead(connection: Connection, incarnation: str) -> bool:
    """Before the transaction begins: what is read in it stays locked against migrations as long as it leads."""
    row = await (await connection.execute(_INCARNATION)).fetchone()
    found, is_fenced = row or ("", False)
    if found != incarnation:
        _log.error("another incarnation of the database", extra={"found": found, "expected": incarnation})
    return found == incarnation and not is_fenced


async def step_down(connection: Connection) -> None:
    """Give the lead back inside `leading`: another may have it from now on. Raises DatabaseAway, DatabaseFailure."""
    with failures_named():
        await connection.execute(_END)


class TermTaken(Exception):
    """The session leads no more, or somebody asked for its secret before."""


async def start_term(connection: Connection, task: Task, leader: Connection) -> UUID:
    """The leadership's secret, which the database tells once: what only the leader may do asks for it. On another
    connection than the leader's, whose transaction never commits. Raises TermTaken."""
    row = await (await connection.execute(_START_TERM, (str(task), leader.info.backend_pid))).fetchone()
    if row is None or row[0] is None:
        raise TermTaken(str(task))
    return UUID(str(row[0]))


async def check(connection: Connection) -> None:
    """Raises DatabaseFailure; DatabaseAway if the session, and the leadership with it, is gone."""
    with failures_named():
        await connection.execute(_CHECK)
