"""Bring a database to what a package carries: its tables step by step, its code as one schema of this release.

`<package>/sql/migrations/NNNN_{pre,post}_slug.sql` run once each, in order, one transaction per file. `pre` is what the
releases that run already can live with; it comes before the first process of this release. `post` is what they cannot
live with; it comes when none of them runs, and their code is dropped first: until then going back is possible.
Between the two the release's code is installed (`code_installer.py`). A landed migration whose text changed is refused:
history is not edited. All under a lock on the migrator's own table that only the owner can take, so that two migrators
do not meet.

A statement that waits for a table's lock makes everybody wait behind it. So it waits for a moment only, pauses, and
tries again (`LOCK_TIMEOUT_MS`, `LOCK_TRIES_MAX`). A file whose first line is `-- no transaction` holds one statement
that runs outside of one, as `create index concurrently` must; ended in the middle, it is begun again.
Never drops anything by itself but the code of releases that nobody runs.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, LiteralString, TypeVar

import psycopg
from psycopg import sql

from infra.runtime import code_installer
from infra.runtime.code_installer import RELEASES_MAX, CodeError
from infra.runtime.release_code import ReleaseCode, release_code
from infra.runtime.sql_files import SqlFile, as_sql, read_sql

LOCK_TIMEOUT_MS: Final = 150
"""Who comes after us waits as long as we do. A command waits 200 ms for its user's row before it answers that the
cell is busy (`CELL_HELD_USER_WAIT_MS`); so it waits on and goes on."""
LOCK_TRIES_MAX: Final = 120
LOCK_PAUSE_S: Final = 1.0
"""Between tries the table is everybody's. With 120 tries this outlasts what holds a table's lock by right for longest
in traffic, the checks of the books (two minutes); an auditor may read for five, and is not waited for."""
BUILD_LOCK_TIMEOUT_MS: Final = 330_000
"""Of a statement outside a transaction. It holds up no reader and no writer while it waits for older transactions, so
it may wait for an auditor's, which end after five minutes."""

_NAME = re.compile(r"^(?P<number>\d{4})_(?P<phase>pre|post)_[a-z0-9_]+\.sql$")
_NO_TRANSACTION = "-- no transaction"
_BUILD = re.compile(
    r"\bcreate\s+(unique\s+)?index\s+concurrently\s+if\s+not\s+exists\s+(?P<name>\w+)\s+on\s+(?P<schema>\w+)\."
)
_COMMENT = re.compile(r"--[^\n]*")
_LOCK: LiteralString = "lock table migrations.applied in share update exclusive mode"
"""Against other migrators; readers and writers of the table do not conflict with it; vacuum waits."""
_TABLES_TRIES_MAX = 5
"""Each refusal means that another migrator has created one of the objects meanwhile."""
_TABLES: LiteralString = (
    """
create schema if not exists migrations;
create table if not exists migrations.applied (
    name text primary key, number int not null, checksum text not null, applied_at timestamptz not null default now()
);
"""
    + code_installer.RECORD
)
_IS_MIGRATED: LiteralString = "select to_regclass('migrations.applied') is not null"
_SAVE: LiteralString = "insert into migrations.applied (name, number, checksum) values (%s, %s, %s)"
# What a build that was ended leaves: an index that is written and never read.
_IS_INVALID: LiteralString = """
select exists (
    select from pg_index i join pg_class k on k.oid = i.indexrelid join pg_namespace n on n.oid = k.relnamespace
     where n.nspname = %s and k.relname = %s and not i.indisvalid)
"""

_T = TypeVar("_T")


class MigrationError(Exception):
    """The files and the database disagree, or a lock was not had; nothing was changed by the step that says so."""


class MigrationPhase(StrEnum):
    """What one run does. `PRE` and `POST` for a rollout; `BOTH` for a stack that is brought up as a whole."""

    PRE = "pre"
    POST = "post"
    BOTH = "both"


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    number: int
    phase: MigrationPhase
    item: SqlFile

    @property
    def is_transaction(self) -> bool:
        return not self.item.text.startswith(_NO_TRANSACTION)


@dataclass(frozen=True)
class Applied:
    """What one run did."""

    migrations: tuple[str, ...]
    code: str
    """Schema of this release's code, which is installed now."""
    installed: bool
    """By this run."""
    dropped: tuple[str, ...]
    """Code of releases that nobody runs."""
    waiting: tuple[str, ...]
    """`post` migrations that were left for later, since an older release still runs."""
    level: int
    """Number of the newest migration now in the database."""


@dataclass(frozen=True)
class Pending:
    """What a database does not have of a release."""

    migrations: tuple[str, ...]
    """In the order of their numbers."""
    has_code: bool
    """Whether its routines and views are installed."""


def read_migrations(package: str) -> list[Migration]:
    """In the order of their numbers. Raises MigrationError for a file that is named otherwise."""
    found = []
    for item in read_sql(package, "migrations"):
        match = _NAME.match(item.name)
        if match is None:
            raise MigrationError(f"{package}: {item.name} is not named NNNN_pre_slug.sql or NNNN_post_slug.sql")
        found.append(Migration(int(match["number"]), MigrationPhase(match["phase"]), item))
    return found


async def migrate(dsn: str, *, package: str, phase: MigrationPhase = MigrationPhase.BOTH) -> Applied:
    """Apply what is missing; harmless to repeat. Raises MigrationError with the file's name."""
    code = release_code(package)
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as lock,
    ):
        await _create_tables(connection)
        # A second connection holds the lock: some files are more than one transaction, and a lock ends with its own.
        async with lock.transaction():
            await lock.execute(_LOCK)
            return await _Run(connection, package, code).run(phase)


async def read_pending(dsn: str, *, package: str) -> Pending:
    """What `migrate` would apply, both phases. Reads only, and waits for no migrator. Raises MigrationError."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        [(is_migrated,)] = await (await connection.execute(_IS_MIGRATED)).fetchall()
        if not is_migrated:
            return Pending(_names(read_migrations(package)), False)
        run = _Run(connection, package, code := release_code(package))
        return Pending(_names(await run.missing()), await code_installer.is_installed(connection, code.schema))


async def drop_unused_code(dsn: str, *, package: str, keep: int = RELEASES_MAX) -> tuple[str, ...]:
    """Drop the code of older releases that no session names, so that `keep` are left, this release's among them.
    Returns the schemas. Raises MigrationError."""
    code = release_code(package)
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as lock,
    ):
        await _create_tables(connection)
        async with lock.transaction():
            await lock.execute(_LOCK)
            return tuple(await _Run(connection, package, code).drop(keep))


async def _create_tables(connection: code_installer.Connection) -> None:
    """Two migrators may create at once in spite of `if not exists`: one is refused, and finds it at the next try."""
    for attempt in range(1, _TABLES_TRIES_MAX + 1):
        try:
            await connection.execute(_TABLES)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateSchema):
            if attempt == _TABLES_TRIES_MAX:
                raise
        else:
            return


class _Run:
    """One migrator, under the lock."""

    def __init__(self, connection: code_installer.Connection, package: str, code: ReleaseCode) -> None:
        self._connection = connection
        self._package = package
        self._code = code

    async def run(self, phase: MigrationPhase) -> Applied:
        missing = await self.missing()
        pending = [item for item in missing if item.phase is MigrationPhase.POST]
        older = await self._older_sessions()
        dropped: list[str] = []
        waiting: list[Migration] = []
        if phase is MigrationPhase.POST:
            await self._check_ready_for_post(missing, older)
            todo = pending
        # Without an older session nobody needs the two phases apart.
        elif phase is MigrationPhase.BOTH and not (pending and older):
            todo = missing  # in the order of all numbers: a later `pre` may stand on an earlier `post`
        else:
            todo = [item for item in missing if item.phase is MigrationPhase.PRE]
            waiting = pending
        if any(item.phase is MigrationPhase.POST for item in todo):
            dropped += await self.drop(keep=1)  # a kept release's view would hold a column that goes
        for item in todo:
            await self._apply(item)
        installed = await self._retried(
            self._code.schema,
            lambda: code_installer.install(self._connection, self._code, lock_timeout_ms=LOCK_TIMEOUT_MS),
        )
        dropped += await self.drop(RELEASES_MAX)
        row = await (
            await self._connection.execute("select coalesce(max(number), 0) from migrations.applied")
        ).fetchone()
        assert row is not None
        return Applied(_names(todo), self._code.schema, installed, tuple(dropped), _names(waiting), int(row[0]))

    async def missing(self) -> list[Migration]:
        cursor = await self._connection.execute("select name, checksum from migrations.applied")
        known = {str(name): str(checksum) for name, checksum in await cursor.fetchall()}
        missing = []
        for migration in read_migrations(self._package):
            item = migration.item
            if item.name not in known:
                missing.append(migration)
            elif known[item.name] != item.checksum:
                raise MigrationError(f"{self._package}: {item.name} was edited after it was applied; add a new file")
        return missing

    async def _older_sessions(self) -> dict[str, list[str]]:
        found = await code_installer.sessions(self._connection)
        return {schema: names for schema, names in found.items() if schema != self._code.schema}

    async def _check_ready_for_post(self, missing: Sequence[Migration], older: dict[str, list[str]]) -> None:
        before = _names(item for item in missing if item.phase is MigrationPhase.PRE)
        if before or not await code_installer.is_installed(self._connection, self._code.schema):
            what = ", ".join(before) or f"the code {self._code.schema}"
            raise MigrationError(f"{self._package}: {what} comes before `post`: run the phase `pre` first")
        if older:
            names = ", ".join(
                sorted(name or "(a session without a name)" for every in older.values() for name in every)
            )
            raise MigrationError(
                f"{self._package}: sessions of another release are there: {names}; end them, then run `post` again"
            )

    async def drop(self, keep: int) -> list[str]:
        """Raises MigrationError where more than RELEASES_MAX are in use, or somebody built on one."""
        dropped, in_use = await self._retried(
            "code of older releases",
            lambda: code_installer.drop_unused(
                self._connection, current=self._code.schema, keep=keep, lock_timeout_ms=LOCK_TIMEOUT_MS
            ),
        )
        if keep == RELEASES_MAX and in_use:
            raise MigrationError(
                f"{self._package}: more than {RELEASES_MAX} releases are in use: end the processes of {in_use[0]}"
            )
        return dropped

    async def _apply(self, migration: Migration) -> None:
        run = self._apply_in_transaction if migration.is_transaction else self._apply_alone
        await self._retried(migration.item.name, lambda: run(migration))

    async def _apply_in_transaction(self, migration: Migration) -> None:
        item = migration.item
        async with self._connection.transaction():
            await self._set_lock_timeout(LOCK_TIMEOUT_MS, local=True)
            await self._connection.execute(as_sql(item.text))
            await self._connection.execute(_SAVE, [item.name, migration.number, item.checksum])

    async def _apply_alone(self, migration: Migration) -> None:
        """The statement may have ended well before and the record be missing: then it finds what it would make."""
        item = migration.item
        statement = _COMMENT.sub("", item.text).strip()
        # Two statements in one message are one transaction, in which no index is built concurrently.
        if statement.count(";") != 1 or not statement.endswith(";"):
            raise MigrationError(f"{self._package}: {item.name}: `{_NO_TRANSACTION}` is for a file of one statement")
        build = _BUILD.search(statement)
        if build is None and "concurrently" in statement:
            raise MigrationError(
                f"{self._package}: {item.name}: write `create index concurrently if not exists NAME on SCHEMA.TABLE`:"
                " an invalid index that is left is found by its name"
            )
        await self._set_lock_timeout(BUILD_LOCK_TIMEOUT_MS, local=False)
        try:
            if build is not None:
                await self._drop_invalid(build["schema"], build["name"])
            await self._connection.execute(as_sql(item.text))
            await self._connection.execute(_SAVE, [item.name, migration.number, item.checksum])
        finally:
            if not self._connection.closed:
                await self._connection.execute("reset lock_timeout")

    async def _drop_invalid(self, schema: str, name: str) -> None:
        row = await (await self._connection.execute(_IS_INVALID, [schema, name])).fetchone()
        if row is not None and row[0]:
            drop = sql.SQL("drop index concurrently {}").format(sql.Identifier(schema, name))
            await self._connection.execute(drop)

    async def _set_lock_timeout(self, milliseconds: int, *, local: bool) -> None:
        await self._connection.execute("select set_config('lock_timeout', %s, %s)", [f"{milliseconds}ms", local])

    async def _retried(self, what: str, step: Callable[[], Awaitable[_T]]) -> _T:
        """`step`, again as long as it does not get a lock. Raises MigrationError that names what it was."""
        for attempt in range(1, LOCK_TRIES_MAX + 1):
            try:
                return await step()
            except psycopg.errors.LockNotAvailable as error:
                if attempt == LOCK_TRIES_MAX:
                    raise MigrationError(
                        f"{self._package}: {what}: its lock was not free in {LOCK_TRIES_MAX} tries; pg_stat_activity"
                        " says whose transaction is old. Nothing was changed; run it again"
                    ) from error
                await asyncio.sleep(LOCK_PAUSE_S)
            except (psycopg.Error, CodeError) as error:
                raise MigrationError(f"{self._package}: {what}: {error}") from error
        raise AssertionError("the last attempt returns or raises")


def _names(migrations: Iterable[Migration]) -> tuple[str, ...]:
    return tuple(migration.item.name for migration in migrations)
