"""Install the code of a release beside that of others, and drop what nobody uses: the only writer of `code_...`.

Installing is one transaction: schema, views, routines, grants and the record, or nothing. It replaces nothing that
runs: what is installed already and complete is left alone, without a statement that makes any session plan anew.
Complete means the record and everything that it lists: a `drop column ... cascade` once took eight views out of a
schema that was still there. An incomplete schema is completed in place, by the same files.
Dropping one does not wait for calls that are under way: they fail (42883) and roll back. So only what no session names
is dropped, one schema in a transaction with its record, and never by `cascade`: who built on it by hand is told.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from infra.runtime.release_code import ReleaseCode
from infra.runtime.sql_files import as_sql

RELEASES_MAX: Final = 10
"""Kept in one database. With a hundred the first call of each connection took 1.65 times as long and every backend
2.4 MB more; with ten 1.15 times and 0.24 MB."""

RECORD: LiteralString = """
create table if not exists migrations.code (
    schema text primary key, routines text[] not null, views text[] not null,
    installed_at timestamptz not null default clock_timestamp()
);
"""
IS_INSTALLED: LiteralString = """
select exists (
    select from migrations.code c join pg_namespace n on n.nspname = c.schema
     where c.schema = %s and has_schema_privilege(n.oid, 'usage')
       and not exists (select from unnest(c.routines) r (name) where not exists (
               select from pg_proc p where p.proname = r.name and p.pronamespace = n.oid))
       and not exists (select from unnest(c.views) v (name) where not exists (
               select from pg_class k where k.relname = v.name and k.relnamespace = n.oid and k.relkind = 'v')))
"""
"""Can a session of this role work with the release's code? By name: nothing that a server prints is compared."""
_CONTENTS: LiteralString = """
select (select coalesce(array_agg(p.proname::text order by p.proname), '{}') from pg_proc p
         where p.pronamespace = n.oid),
       (select coalesce(array_agg(k.relname::text order by k.relname), '{}') from pg_class k
         where k.relnamespace = n.oid and k.relkind = 'v')
  from pg_namespace n where n.nspname = %s
"""
# A routine without a path of its own runs on its caller's, so it may neither have the owner's rights nor be plpgsql,
# which keeps its plans.
_WRONG_PATHS: LiteralString = """
select p.proname, coalesce(s.setting, 'none')
  from pg_proc p join pg_language l on l.oid = p.prolang
  left join lateral (
       select substr(c, 13) as setting from unnest(p.proconfig) c where c like 'search\\_path=%%') s on true
 where p.pronamespace = %s::regnamespace
   and case when s.setting is null then p.prosecdef or l.lanname <> 'sql' else s.setting <> %s end
"""
_SAVE: LiteralString = """
insert into migrations.code (schema, routines, views) values (%s, %s, %s)
on conflict (schema) do update set routines = excluded.routines, views = excluded.views
"""
_INSTALLED: LiteralString = "select schema, installed_at from migrations.code order by installed_at, schema"
# Whom the service's code serves: neither the owner, who runs this, nor a superuser, nor an auditor, who only reads.
# Everybody may read who is connected and under which name, and nothing else of another's session.
_SESSIONS: LiteralString = """
select distinct coalesce(substring(a.application_name from '(?:^| )(code_[0-9a-f]{12})$'), ''), a.application_name
  from pg_stat_activity a join pg_roles r on r.rolname = a.usename
 where a.datname = current_database() and a.usename <> current_user and not r.rolsuper
   and a.usename not like '%\\_auditor'
"""
# One statement for all views: they stand on each other.
_DROPS: LiteralString = """
select statement from (
    select 1 as step, 'drop view ' || string_agg(k.oid::regclass::text, ', ') as statement from pg_class k
     where k.relnamespace = %(schema)s::regnamespace and k.relkind = 'v'
    union all
    select 2, 'drop function ' || string_agg(p.oid::regprocedure::text, ', ') from pg_proc p
     where p.pronamespace = %(schema)s::regnamespace
    union all
    select 3, 'drop schema ' || quote_ident(%(schema)s::text)
) steps where statement is not null order by step
"""

Connection = psycopg.AsyncConnection[Any]


class CodeError(Exception):
    """The code was not installed or not dropped; nothing of that step was done."""


@dataclass(frozen=True)
class Installed:
    """One release's code, by its record."""

    schema: str
    installed_at: datetime


async def install(connection: Connection, code: ReleaseCode, *, lock_timeout_ms: int) -> bool:
    """False: it was there, complete. As the owner, under the migrator's lock, on an autocommit connection. Raises
    CodeError with the file's name, and what psycopg raises where a lock is not had."""
    if await is_installed(connection, code.schema):
        return False
    path = f"{code.schema}, {code.tables}, pg_temp"
    async with connection.transaction():
        await connection.execute("select set_config('lock_timeout', %s, true)", [f"{lock_timeout_ms}ms"])
        await connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(code.schema)))
        await connection.execute("select set_config('search_path', %s, true)", [path])
        for folder, item in code.files:
            try:
                await connection.execute(as_sql(item.text))
            # Not the file's fault: the migrator tries again.
            except psycopg.errors.LockNotAvailable:
                raise
            except psycopg.Error as error:
                raise CodeError(f"{folder}/{item.name}: {error}") from error
        await _verify(connection, code, path)
    return True


async def _verify(connection: Connection, code: ReleaseCode, path: str) -> None:
    wrong = await (await connection.execute(_WRONG_PATHS, [code.schema, path])).fetchall()
    if wrong:
        found = ", ".join(f"{name} ({setting})" for name, setting in wrong)
        raise CodeError(f"these routines have not the path {path!r}: {found}; write `set search_path from current`")
    row = await (await connection.execute(_CONTENTS, [code.schema])).fetchone()
    assert row is not None
    for folder, made in (("procedures", row[0]), ("views", row[1])):
        named = code.names(folder)
        if sorted(named) != list(made):
            different = sorted(named.symmetric_difference(made)) or "one name twice"
            raise CodeError(f"{folder}: each file creates what it is named after, and nothing else: {different}")
    await connection.execute(_SAVE, [code.schema, *row])


async def is_installed(connection: Connection, schema: str) -> bool:
    """The record, and all that it lists."""
    row = await (await connection.execute(IS_INSTALLED, [schema])).fetchone()
    return row is not None and bool(row[0])


async def installed(connection: Connection) -> list[Installed]:
    """What the record lists, oldest first."""
    return [Installed(*row) for row in await (await connection.execute(_INSTALLED)).fetchall()]


async def sessions(connection: Connection) -> dict[str, list[str]]:
    """Session names by the schema of code that they name; under '' those that name none: releases before this."""
    found: dict[str, list[str]] = {}
    for schema, name in await (await connection.execute(_SESSIONS)).fetchall():
        found.setdefault(str(schema), []).append(str(name))
    return found


async def drop_unused(
    connection: Connection, *, current: str, keep: int, lock_timeout_ms: int
) -> tuple[list[str], list[str]]:
    """Keep `current` and the newest others, `keep` in all; drop the older ones of which no session is there.

    Returns the schemas dropped and those that are in use beyond `keep`. Raises CodeError if something that is no
    release's was built on one.
    """
    in_use = await sessions(connection)
    others = [item.schema for item in await installed(connection) if item.schema != current]
    # The current one counts among those that are kept.
    too_many = others[: max(0, len(others) + 1 - max(1, keep))]
    dropped = [schema for schema in too_many if schema not in in_use]
    for schema in dropped:
        await _drop(connection, schema, lock_timeout_ms)
    return dropped, [schema for schema in too_many if schema in in_use]


async def _drop(connection: Connection, schema: str, lock_timeout_ms: int) -> None:
    async with connection.transaction():
        await connection.execute("select set_config('lock_timeout', %s, true)", [f"{lock_timeout_ms}ms"])
        await connection.execute("delete from migrations.code where schema = %s", [schema])
        there = await (await connection.execute("select to_regnamespace(%s)", [schema])).fetchone()
        # A record without its schema: somebody dropped that by hand.
        if there is None or there[0] is None:
            return
        statements = await (await connection.execute(_DROPS, {"schema": schema})).fetchall()
        for (statement,) in statements:
            try:
                await connection.execute(as_sql(statement))
            except psycopg.errors.DependentObjectsStillExist as error:
                raise CodeError(f"{schema} is not dropped, something else was built on it: {error}") from error
