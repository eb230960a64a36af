"""Open, tune, check and close a pool of PostgreSQL connections.

Connections are autocommit: a write is one procedure call and therefore one transaction. Every connection carries lock
and statement timeouts, so that a stuck database answers before the caller's own deadline. A pool that cannot connect
yet opens anyway and keeps trying; readiness, not start-up, reports it. What a request does with a connection ends, at
the server too, when its caller stops waiting.
"""

import asyncio
import time

import msgspec
import psycopg_pool
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads

from infra.runtime.code_installer import IS_INSTALLED
from infra.runtime.dsn import clock_options, code_option, session_name, with_parameters
from infra.runtime.fair_permits import FairPermits
from infra.runtime.pool import Connection as Connection
from infra.runtime.pool import Pool as Pool
from infra.runtime.settings import PostgresSettings


def with_session_settings(settings: PostgresSettings, application_name: str) -> str:
    """The DSN with timeouts, name, the release's code and the clock's offset. Options that it has already stay."""
    options = [f"-c lock_timeout={settings.lock_timeout_ms}", f"-c statement_timeout={settings.statement_timeout_ms}"]
    parameters: dict[str, object] = {
        "application_name": application_name,
        "connect_timeout": max(1, round(settings.connect_timeout_s)),
        # milliseconds without an acknowledgement, after which the server's machine counts as gone
        "tcp_user_timeout": 10_000,
        # the connections at the bottom of the pool may rest for hours, and firewalls forget what is silent
        "keepalives_idle": 60,
    }
    if settings.code is not None:
        options.append(code_option(settings.code))
        parameters["application_name"] = session_name(application_name, settings.code)
    options += clock_options(settings.clock_offset_s)
    return with_parameters(settings.dsn, {**parameters, "options": " ".join(options)})


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


async def release_is_installed(pool: Pool, settings: PostgresSettings, timeout_s: float = 1.0) -> bool:
    """Is this release's code there, complete, and open to this role? A database that answers may have none of it, and
    every call fails. Asked for readiness, not for requests."""
    try:
        async with asyncio.timeout(timeout_s), pool.connection() as connection:
            row = await (await connection.execute(IS_INSTALLED, [settings.code])).fetchone()
    except Exception:
        return False
    return row is not None and bool(row[0])
