"""Open, tune, check and close a pool of PostgreSQL connections.

Connections are autocommit: a write is one procedure call and therefore one transaction. Every connection carries lock
and statement timeouts, so that a stuck database answers before the caller's own deadline. A pool that cannot connect
yet opens anyway and keeps trying; readiness, not start-up, reports it. What a request does with a connection ends, at
the server too, when its caller stops waiting.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString
from urllib.parse import urlencode

import msgspec
import psycopg_pool
from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads

from infra.runtime.fair_permits import FairPermits
from infra.runtime.pool import Connection as Connection
from infra.runtime.pool import Pool as Pool
from infra.runtime.settings import PostgresSettings


def with_session_settings(settings: PostgresSettings, application_name: str) -> str:
    """The DSN with timeouts, name and the clock's offset as connection options."""
    options = f"-c lock_timeout={settings.lock_timeout_ms} -c statement_timeout={settings.statement_timeout_ms}"
    return _with_parameters(
        settings.dsn,
        {
            "application_name": application_name,
            "options": f"{options}{_clock_option(settings.clock_offset_s)}",
            "connect_timeout": max(1, round(settings.connect_timeout_s)),
            # milliseconds without an acknowledgement, after which the server's machine counts as gone
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
    # A page of 500 journal entries has a JSON value in each row: with the standard library a third of all its work.
    set_json_loads(msgspec.json.decode, connection)


def make_pool(
    settings: PostgresSettings,
    application_name: str,
    *,
    size: int | None = None,
    checked: bool = False,
    shares: FairPermits | None = None,
) -> Pool:
    """A closed pool; `async with pool:` or `await pool.open()` opens it.

    `checked`: ask each connection before it is lent. It costs a round trip, so only callers that are in no hurry want
    it. `shares`: of those connections that one user's requests may have (`pool.py`).
    """
    count = size or settings.pool_max
    return Pool(
        with_session_settings(settings, application_name),
        min_size=min(2, count),
        max_size=count,
        timeout=settings.connect_timeout_s,
        max_waiting=1_024,  # whoever comes beyond that is refused at once: it would wait in vain
        configure=_configure,
        open=False,
        reconnect_timeout=5.0,  # seconds of growing pauses; `Pool` then tries again for the next who asks
        connection_class=AsyncConnection[TupleRow],
        checked=checked,
        shares=shares,
    )


class StatementsFailed(Exception):
    """The database could not be reached, or refused one of the statements; what was one transaction was not done."""


async def run_statements(dsn: str, statements: Sequence[str], *, in_transaction: bool = True) -> None:
    """Run what an operator's program was written with, in one transaction or each by itself. Raises
    StatementsFailed."""
    try:
        async with await AsyncConnection.connect(dsn, connect_timeout=10, autocommit=not in_transaction) as connection:
            for statement in statements:
                await connection.execute(_as_sql(statement))
    except Error as error:
        raise StatementsFailed(str(error)) from error


async def fetch_row(dsn: str, query: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
    """The first row of what an operator's program asks, on a connection of its own. Raises StatementsFailed."""
    try:
        async with await AsyncConnection.connect(dsn, connect_timeout=10, autocommit=True) as connection:
            return await (await connection.execute(_as_sql(query), parameters)).fetchone()
    except Error as error:
        raise StatementsFailed(str(error)) from error


def _as_sql(text: str) -> LiteralString:
    # Statements of the installed package, as fixed as a literal in the source.
    return text


async def answers(pool: Pool, timeout_s: float = 1.0) -> bool:
    """Does the database answer a trivial query in time? One connection that has died says nothing about it: the next
    is asked, and there is time for two that are silent."""
    asking = asyncio.create_task(_answers(pool, timeout_s))
    done, _ = await asyncio.wait({asking}, timeout=timeout_s)
    if not done:
        asking.cancel()
        return False
    return asking.result()


async def _answers(pool: Pool, timeout_s: float) -> bool:
    ends_at_s = time.monotonic() + timeout_s
    while (left_s := ends_at_s - time.monotonic()) > 0:
        try:
            if await pool.ask_one(min(left_s, timeout_s / 3)):
                return True
        except psycopg_pool.PoolTimeout:
            continue  # there may be one in a moment
        except Exception:
            return False
    return False
