"""Other releases on a test's database: code of one's own making, and the layout before code schemas."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg

from infra.runtime import code_installer
from infra.runtime.release_code import ReleaseCode, release_code, schema_name
from infra.runtime.sql_files import SqlFile, as_sql, read_sql

LOCK_TIMEOUT_MS = 5_000
_YOUNGER_VIEWS = frozenset({"lost_sequences.sql", "sequences_elsewhere.sql", "streams_elsewhere.sql"})
"""Views that were made after code schemas: no release had them beside the tables, and no migration takes them away."""


def release_with(procedures: dict[str, str], package: str = "cell") -> ReleaseCode:
    """The checkout's release, its procedures replaced or added by the given texts."""
    code = release_code(package)
    kept = tuple((folder, item) for folder, item in code.files if item.name not in procedures)
    new = tuple(("procedures", SqlFile(name, text)) for name, text in procedures.items())
    order = ("views", "procedures", "grants")
    files = tuple(sorted((*kept, *new), key=lambda file: (order.index(file[0]), file[1].name)))
    return replace(code, schema=schema_name(files), files=files)


def install(dsn: str, code: ReleaseCode) -> bool:
    """As `migrate` does."""

    async def run() -> bool:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(code_installer.RECORD)
            return await code_installer.install(connection, code, lock_timeout_ms=LOCK_TIMEOUT_MS)

    return asyncio.run(run())


def install_old_layout(owner: psycopg.Connection[Any], package: str, tables: str) -> None:
    """Routines and views where the tables are, as releases before code schemas had them, and their migration undone."""
    owner.execute("select set_config('search_path', %s, false)", [f"{tables}, pg_temp"])
    for folder in ("views", "procedures"):
        for item in read_sql(package, folder):
            if item.name not in _YOUNGER_VIEWS:
                owner.execute(as_sql(item.text))
    owner.execute("create table migrations.procedures (name text primary key, checksum text not null)")
    owner.execute("delete from migrations.applied where name like '%code_of_releases%'")
    if package == "cell":
        owner.execute("alter default privileges in schema brokerage grant execute on functions to cell_service")
        owner.execute("grant execute on all functions in schema brokerage to cell_service")
    for (schema,) in owner.execute("select schema from migrations.code").fetchall():
        drop = psycopg.sql.SQL("drop schema {} cascade").format(psycopg.sql.Identifier(schema))
        owner.execute(drop)
    owner.execute("drop table migrations.code")
