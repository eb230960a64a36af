"""Read several things at one instant of the database, whatever is written meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, LiteralString

from infra.runtime.database import Connection

_ONE_INSTANT: Final[LiteralString] = "set transaction isolation level repeatable read, read only"


@asynccontextmanager
async def one_instant(connection: Connection) -> AsyncIterator[None]:
    """A transaction that writes nothing; all its statements see what the first one saw."""
    async with connection.transaction():
        await connection.execute(_ONE_INSTANT)
        yield
