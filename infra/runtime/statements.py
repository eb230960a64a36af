"""What an operator's program asks a database now and then: one connection for it, closed afterwards, nothing retried.

The driver is imported with the first question: back ends stand on this module, so every command does, and most of them
ask no database.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from infra.runtime.sql_files import as_sql

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_CONNECT_S: Final = 10
"""A server of this machine that has just started answers within a second; one elsewhere has a slow handshake."""


class StatementsFailed(Exception):
    """The database could not be reached, or refused one of the statements; what was one transaction was not done."""


async def run_statements(dsn: str, statements: Sequence[str], *, in_transaction: bool = True) -> None:
    """Run what an operator's program was written with, in one transaction or each by itself. Raises
    StatementsFailed."""
    async with _connected(dsn, autocommit=not in_transaction) as connection:
        for statement in statements:
            await connection.execute(as_sql(statement))


async def run_statement(dsn: str, statement: str, parameters: Sequence[object]) -> None:
    """One statement with its values, in a transaction. Raises StatementsFailed."""
    async with _connected(dsn, autocommit=False) as connection:
        await connection.execute(as_sql(statement), parameters)


async def fetch_row(dsn: str, query: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
    """The first row of what an operator's program asks, on a connection of its own. Raises StatementsFailed."""
    async with _connected(dsn, autocommit=True) as connection:
        return await (await connection.execute(as_sql(query), parameters)).fetchone()


@asynccontextmanager
async def _connected(dsn: str, *, autocommit: bool) -> "AsyncIterator[AsyncConnection[tuple[Any, ...]]]":
    import psycopg  # not above: most who import this module never come here

    try:
        connecting = psycopg.AsyncConnection.connect(dsn, connect_timeout=_CONNECT_S, autocommit=autocommit)
        async with await connecting as connection:
            yield connection
    except psycopg.Error as error:
        raise StatementsFailed(str(error)) from error
