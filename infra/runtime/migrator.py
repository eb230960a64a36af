"""Bring a database to the schema that a package carries.

`<package>/sql/migrations/NNNN_{pre,post}_slug.sql` run once each, in order, one transaction per file, under a lock on
the migrator's own table that only the owner can take, so that two migrators do not meet.
`<package>/sql/procedures/*.sql` hold one routine each and are applied again whenever their checksum changed. A landed
migration whose text changed is refused: history is not edited.
Never drops anything by itself, never runs code.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import LiteralString

import psycopg

_NAME = re.compile(r"^(?P<number>\d{4})_(?P<phase>pre|post)_[a-z0-9_]+\.sql$")
_LOCK: LiteralString = "lock table migrations.applied in share update exclusive mode"
"""Against other migrators; readers and writers of the table do not conflict with it; vacuum waits."""
_TABLES_TRIES_MAX = 5
"""Each refusal means that another migrator has created one of the three objects meanwhile."""


class MigrationError(Exception):
    """The files and the database disagree; nothing was changed by the step that says so."""


@dataclass(frozen=True)
class SqlFile:
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Applied:
    """What one run did."""

    migrations: tuple[str, ...]
    procedures: tuple[str, ...]
    level: int
    """Number of the newest migration now in the database."""


def read_sql(package: str, folder: str) -> list[SqlFile]:
    """The package's files of one folder, sorted by name; an absent folder is empty."""
    root = files(package).joinpath("sql", folder)
    if not root.is_dir():
        return []
    found = [SqlFile(item.name, item.read_text("utf-8")) for item in root.iterdir() if item.name.endswith(".sql")]
    return sorted(found, key=lambda item: item.name)


def _numbered(package: str, *, through_post: bool) -> Iterator[tuple[int, SqlFile]]:
    for item in read_sql(package, "migrations"):
        match = _NAME.match(item.name)
        if match is None:
            raise MigrationError(f"{package}: {item.name} is not named NNNN_pre_slug.sql or NNNN_post_slug.sql")
        if match["phase"] == "pre" or through_post:
            yield int(match["number"]), item


def _as_sql(text: str) -> LiteralString:
    # The text is a file of the installed package, as fixed as a literal in the source.
    return text


_TABLES: LiteralString = """
create schema if not exists migrations;
create table if not exists migrations.applied (
    name text primary key, number int not null, checksum text not null, applied_at timestamptz not null default now()
);
create table if not exists migrations.procedures (
    name text primary key, checksum text not null, applied_at timestamptz not null default now()
);
"""


async def migrate(dsn: str, *, package: str, through_post: bool = True) -> Applied:
    """Apply what is missing; harmless to repeat. Raises MigrationError with the file's name."""
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as lock,
    ):
        await _create_tables(connection)
        # A second connection holds the lock: some files are more than one transaction, and a lock ends with its own.
        async with lock.transaction():
            await lock.execute(_LOCK)
            migrations = await _apply_migrations(connection, package, through_post=through_post)
            procedures = await _apply_procedures(connection, package)
            row = await (await connection.execute("select coalesce(max(number), 0) from migrations.applied")).fetchone()
    assert row is not None
    return Applied(tuple(migrations), tuple(procedures), int(row[0]))


async def _create_tables(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    """Two migrators may create at once in spite of `if not exists`: one is refused, and finds it at the next try."""
    for attempt in range(1, _TABLES_TRIES_MAX + 1):
        try:
            await connection.execute(_TABLES)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateSchema):
            if attempt == _TABLES_TRIES_MAX:
                raise
        else:
            return


async def _apply_migrations(
    connection: psycopg.AsyncConnection[tuple[object, ...]], package: str, *, through_post: bool
) -> list[str]:
    cursor = await connection.execute("select name, checksum from migrations.applied")
    known = {str(name): str(checksum) for name, checksum in await cursor.fetchall()}
    done = []
    for number, item in _numbered(package, through_post=through_post):
        if item.name in known:
            if known[item.name] != item.checksum:
                raise MigrationError(f"{package}: {item.name} was edited after it had been applied; add a new file")
            continue
        try:
            async with connection.transaction():
                await connection.execute(_as_sql(item.text))
                await connection.execute(
                    "insert into migrations.applied (name, number, checksum) values (%s, %s, %s)",
                    [item.name, number, item.checksum],
                )
        except psycopg.Error as error:
            raise MigrationError(f"{package}: {item.name}: {error}") from error
        done.append(item.name)
    return done


async def _apply_procedures(connection: psycopg.AsyncConnection[tuple[object, ...]], package: str) -> list[str]:
    cursor = await connection.execute("select name, checksum from migrations.procedures")
    known = {str(name): str(checksum) for name, checksum in await cursor.fetchall()}
    changed = [item for item in read_sql(package, "procedures") if known.get(item.name) != item.checksum]
    # One transaction for all: a release's procedures call each other and must change together.
    async with connection.transaction():
        for item in changed:
            try:
                await connection.execute(_as_sql(item.text))
            except psycopg.Error as error:
                raise MigrationError(f"{package}: {item.name}: {error}") from error
            await connection.execute(
                "insert into migrations.procedures (name, checksum) values (%s, %s) "
                "on conflict (name) do update set checksum = excluded.checksum, applied_at = now()",
                [item.name, item.checksum],
            )
    return [item.name for item in changed]
