"""Open, tune, check and close a pool of PostgreSQL connections.

Connections are autocommit: a write is one procedure call and therefore one transaction. Every connection carries lock
and statement timeouts, so that a stuck database answers before the caller's own deadline. A pool that cannot connect
yet opens anyway and keeps trying; readiness, not start-up, reports it. What a request does with a connection ends, at
the server too, when its caller waits no more.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from urllib.parse import urlencode

from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from infra.runtime import deadline
from infra.runtime.deadline import OutOfTime
from infra.runtime.settings import PostgresSettings

Connection = AsyncConnection[TupleRow]


class _LastReturnedFirst(deque[Connection]):
    """What psycopg_pool appends on return and pops from the left to lend: a queue there, a stack here."""

    append = deque.appendleft


class Pool(AsyncConnectionPool[Connection]):
    """Connections, lent to a request no longer than its budget lasts; the wait for one counts.

    The one that was returned last is lent first. A server process that has just run a statement has its plan and its
    catalog entries in the processor's caches; taking turns, as the library does, wakes the coldest of all each time.
    """

    _pool: deque[Connection]

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._pool = _LastReturnedFirst()

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:
        """Raises `OutOfTime` when the budget ends; the driver has cancelled the statement then."""
        left_s = deadline.left_s()
        if left_s == math.inf:
            async with super().connection(timeout) as connection:
                yield connection
            return
        if left_s <= 0:
            raise OutOfTime("the caller waits no more")
        try:
            async with asyncio.timeout(left_s) as budget, super().connection(timeout) as connection:
                yield connection
        except TimeoutError as error:
            if budget.expired():
                raise OutOfTime("the caller waits no more") from error
            raise


def with_session_settings(settings: PostgresSettings, application_name: str) -> str:
    """The DSN with timeouts, name and the clock's offset as connection options."""
    options = f"-c lock_timeout={settings.lock_timeout_ms} -c statement_timeout={settings.statement_timeout_ms}"
    return _with_parameters(
        settings.dsn,
        {
            "application_name": application_name,
            "options": f"{options}{_clock_option(settings.clock_offset_s)}",
            "connect_timeout": max(1, round(settings.connect_timeout_s)),
            "tcp_user_timeout": 10_000,
            # the connections at the bottom of the pool may rest for hours, and firewalls forget what is silent
            "keepalives_idle": 60,
        },
    )


def with_clock_offset(dsn: str, offset_s: float) -> str:
    """The DSN for a connection of its own, outside of a pool, whose database session has our clock."""
    return _with_parameters(dsn, {"options": _clock_option(offset_s).strip()}) if offset_s else dsn


def _clock_option(offset_s: float) -> str:
    """What `clock_v1` reads there: an interval."""
    return f" -c brokerage.clock_offset={offset_s:.6f}s" if offset_s else ""


def _with_parameters(dsn: str, parameters: Mapping[str, object]) -> str:
    extra = urlencode(parameters, quote_via=lambda text, *_: text.replace(" ", "%20").replace("=", "%3D"))
    return f"{dsn}{'&' if '?' in dsn else '?'}{extra}"


async def _configure(connection: Connection) -> None:
    await connection.set_autocommit(True)
    connection.prepare_threshold = 0  # prepare at first use: the same few statements run for ever


def make_pool(
    settings: PostgresSettings, application_name: str, *, size: int | None = None, checked: bool = False
) -> Pool:
    """A closed pool; `async with pool:` or `await pool.open()` opens it.

    `checked`: try each connection before it is handed out. It costs a round trip, so only callers that have no retry of
    their own and are in no hurry ask for it; the others meet a dead connection once and go on with the next.
    """
    count = size or settings.pool_max
    return Pool(
        with_session_settings(settings, application_name),
        min_size=min(2, count),
        max_size=count,
        timeout=settings.connect_timeout_s,
        max_waiting=1_024,
        configure=_configure,
        check=AsyncConnectionPool.check_connection if checked else None,
        open=False,
        reconnect_timeout=5.0,
        connection_class=AsyncConnection[TupleRow],
    )


class StatementsFailed(Exception):
    """The database could not be reached, or refused one of the statements; nothing of them was done."""


async def run_statements(dsn: str, statements: Sequence[str]) -> None:
    """Run what an operator's program was written with, in one transaction. Raises StatementsFailed."""
    try:
        async with await AsyncConnection.connect(dsn, connect_timeout=10) as connection:
            for statement in statements:
                await connection.execute(_as_sql(statement))
    except Error as error:
        raise StatementsFailed(str(error)) from error


def _as_sql(text: str) -> LiteralString:
    # Statements of the installed package, as fixed as a literal in the source.
    return text


async def answers(pool: Pool, timeout_s: float = 1.0) -> bool:
    """Does the database answer a trivial query in time?"""
    try:
        async with pool.connection(timeout=timeout_s) as connection:
            await connection.execute("select 1")
    except Exception:
        return False
    return True
