"""Call a database procedure, and name how that can fail: one family of errors for every process.

Callers react to what a failure means for them, not to a driver's class. Some pass by themselves: the database is away
(the outcome of a call that was sent is unknown), it is busy (rolled back, nothing was done), or it was never asked, as
all connections were in use. The others are of this very call (`CallFailed`): the procedure refused with a private
SQLSTATE of ours, or the database broke on it. No message or constraint name is ever parsed. Nothing is retried here
but what certainly was not done.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg_pool import PoolTimeout

from infra.runtime.pool import Connection, Pool, PoolBusy

_BUSY_PAUSES_S: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""A third of a second in all: most locks on a user's row are held for a few milliseconds, a move's for longer."""


class DatabaseFailure(Exception):
    """A call did not return; the driver's error is the cause."""


class DatabaseAway(DatabaseFailure):
    """No connection, or it was lost: what was sent may or may not have been committed."""


class ConnectionsTaken(DatabaseFailure):
    """The database is there, but no connection came free in time: nothing was sent."""


class DatabaseBusy(DatabaseFailure):
    """A lock or the statement ran into its time limit: rolled back, nothing was done."""


class CallFailed(DatabaseFailure):
    """The database said no to this very call: rolled back, nothing was done. The same call fails again."""

    def __init__(self, sqlstate: str, detail: str) -> None:
        super().__init__(f"{sqlstate}: {detail}")
        self.sqlstate = sqlstate


class DatabaseRefused(CallFailed):
    """The procedure raised a SQLSTATE of the private class RB."""


class DatabaseBroke(CallFailed):
    """The database could not run this call. The fault is in our code or our data."""


AWAY: tuple[type[Exception], ...] = (psycopg.OperationalError, PoolTimeout, DatabaseAway)
"""What any use of a pool raises when the database is away, for those who answer 503 to it."""
REFUSED: tuple[type[Exception], ...] = (psycopg.DatabaseError, CallFailed)
"""What it raises when the database says no; `sqlstate_of` tells why. Those above are more specific."""
TAKEN: tuple[type[Exception], ...] = (PoolBusy, ConnectionsTaken)
"""What it raises when the database is there and every connection is in use."""


def sqlstate_of(error: Exception) -> str:
    return str(getattr(error, "sqlstate", None) or "")


async def call(pool: Pool, sql: LiteralString, parameters: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
    """The rows of one procedure call. Raises a DatabaseFailure."""
    async with connected(pool) as connection:
        return await call_on(connection, sql, parameters)


async def call_when_free(pool: Pool, sql: LiteralString, parameters: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
    """`call`, of a procedure that does not wait for the row it has to lock: while another writer has that, it is tried
    again for a third of a second, and between the tries the connection is for others. Raises a DatabaseFailure."""
    for pause_s in _BUSY_PAUSES_S:
        try:
            return await call(pool, sql, parameters)
        except DatabaseBusy:
            await asyncio.sleep(pause_s)
    return await call(pool, sql, parameters)


@asynccontextmanager
async def connected(pool: Pool, *, within_s: float | None = None) -> AsyncIterator[Connection]:
    """A connection for calls; as long as there is none, nothing was sent. What fails inside is a DatabaseFailure."""
    with failures_named():
        async with pool.connection(timeout=within_s) as connection:
            yield connection


async def call_on(connection: Connection, sql: LiteralString, parameters: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
    """The rows of one procedure call, inside `connected`."""
    cursor = await connection.execute(sql, parameters, prepare=True, binary=True)
    return await cursor.fetchall()


async def rehearse(pool: Pool, sql: LiteralString, parameters: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
    """The rows of a call that is rolled back: what it would answer, and nothing done. Raises a DatabaseFailure."""
    async with connected(pool) as connection, connection.transaction(force_rollback=True):
        return await call_on(connection, sql, parameters)


@contextmanager
def failures_named() -> Iterator[None]:
    """What the driver raises inside comes out as a DatabaseFailure, where it is one as DatabaseAway, DatabaseBusy or
    ConnectionsTaken."""
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
        raise DatabaseBusy(str(error)) from error
    except PoolBusy as error:
        raise ConnectionsTaken(str(error)) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise DatabaseAway(str(error)) from error
    except psycopg.Error as error:
        sqlstate = error.sqlstate or ""
        raise (DatabaseRefused if sqlstate.startswith("RB") else DatabaseBroke)(sqlstate, str(error)) from error
