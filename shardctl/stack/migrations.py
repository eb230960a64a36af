"""Which migrations of this release each database of a stack does not have yet: asked of the databases that run.

The image of each service knows its own list and compares it with what its database notes (`python -m PACKAGE migrate
--pending`), which reads and changes nothing.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from infra.backends.addresses import CONTROL_POSTGRES
from infra.backends.backend import Backend, BackendError
from infra.backends.cell_spec import Job, postgres_name
from infra.runtime.migrator import Pending

UNKNOWN: Final = "unknown until it runs"
_JOBS_AT_ONCE: Final = 2
"""Each is a Python process that uses one core fully for a second."""
_WHY_CHARACTERS: Final = 200
"""Of the last line of a job that failed."""


@dataclass(frozen=True, slots=True)
class PendingMigrations:
    """Of one database."""

    database: str
    names: tuple[str, ...] | None
    """In the order in which they are applied; None: not known."""
    has_code: bool | None
    """Whether this release's routines and views are installed."""
    why: str = ""
    """It is not known."""


async def pending_migrations(backend: Backend) -> tuple[PendingMigrations, ...]:
    """Of the control database and each cell's, as the stack stands. Raises nothing for a database that is silent."""
    cells = [cell.name for cell in backend.spec().cells]
    jobs = {
        CONTROL_POSTGRES: Job("shardctl", ("migrate", "--pending")),
        **{postgres_name(cell): Job("cell", ("migrate", "--pending"), cell) for cell in cells},
    }
    running = {row.name for row in await backend.status() if row.state == "running"}
    limit = asyncio.Semaphore(_JOBS_AT_ONCE)

    async def ask(database: str, job: Job) -> PendingMigrations:
        if database not in running:
            return PendingMigrations(database, None, None, UNKNOWN)
        async with limit:
            try:
                result = await backend.run_job(job)
            except BackendError as error:
                return PendingMigrations(database, None, None, str(error))
        return read_answer(database, result.exit_code, result.output)

    return tuple(await asyncio.gather(*(ask(database, job) for database, job in jobs.items())))


def read_answer(database: str, exit_code: int, output: str) -> PendingMigrations:
    """Pure. The answer is the last line; a job that failed says why there."""
    last = output.strip().rpartition("\n")[2]
    if exit_code == 0:
        try:
            found = msgspec.json.decode(last, type=Pending)
        except msgspec.MsgspecError as error:
            last = str(error)
        else:
            return PendingMigrations(database, found.migrations, found.has_code)
    return PendingMigrations(database, None, None, f"not known: {last[:_WHY_CHARACTERS]}")
