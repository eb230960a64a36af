"""How migrations wait for locks, run outside of a transaction and are begun again: on a package of the test's own."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.runtime import migrator
from infra.runtime.migrator import MigrationError, MigrationPhase, Pending, migrate, read_pending
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually

pytestmark = pytest.mark.anyio

Write = Callable[..., None]
_numbers = itertools.count(1)
WAITING = "select count(*) from pg_locks where not granted and locktype = 'relation'"


class Package:
    """An importable package with `sql/migrations`; its tables are in a schema of its own name."""

    def __init__(self, root: Path) -> None:
        self.name = f"tested_package_{next(_numbers)}"
        self._root = root / self.name
        for folder in ("migrations", "procedures"):
            (self._root / "sql" / folder).mkdir(parents=True)
        (self._root / "__init__.py").touch()
        self.write("0001_pre_table.sql", f"create schema {self.name}; create table {self.name}.t (n integer);")

    def write(self, file: str, text: str, folder: str = "migrations") -> None:
        (self._root / "sql" / folder / file).write_text(text)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    return Package(tmp_path)


@pytest.fixture
def owner(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell_database.owner_dsn, autocommit=True) as connection:
        yield connection


async def test_what_is_pending_is_read_and_nothing_is_changed(
    cell_database: TestDatabase, package: Package, owner: Any
) -> None:
    dsn = cell_database.owner_dsn
    count = "select count(*) from migrations.applied"
    before = owner.execute(count).fetchone()
    assert await read_pending(dsn, package=package.name) == Pending(("0001_pre_table.sql",), has_code=False)
    assert owner.execute(count).fetchone() == before
    await migrate(dsn, package=package.name)
    assert await read_pending(dsn, package=package.name) == Pending((), has_code=True)
    package.write("0003_post_gone.sql", "select 1;")
    package.write("0002_pre_more.sql", "select 1;")
    found = await read_pending(dsn, package=package.name)
    assert found.migrations == ("0002_pre_more.sql", "0003_post_gone.sql")
    owner.execute("drop schema migrations cascade")
    assert len((await read_pending(dsn, package=package.name)).migrations) == 3, "a database that knows no migrations"


async def test_who_waits_behind_a_migration_gets_through(
    cell_database: TestDatabase, package: Package, owner: Any, root: Any
) -> None:
    """A reader of minutes holds the table: the migration pauses again and again, others read, and it is done in the
    end."""
    dsn = cell_database.owner_dsn
    await migrate(dsn, package=package.name)
    package.write("0002_pre_column.sql", f"alter table {package.name}.t add column m integer;")
    with psycopg.connect(dsn) as reader:
        reader.execute(f"select count(*) from {package.name}.t")
        migrating = asyncio.create_task(migrate(dsn, package=package.name))
        for _ in range(2):  # the second wait is a second try

            async def waits() -> bool:
                return bool(root.execute(WAITING).fetchone() != (0,))

            await eventually(waits)
            behind = await asyncio.to_thread(owner.execute, f"select count(*) from {package.name}.t")
            assert behind.fetchone() == (0,)
            assert not migrating.done()
        reader.rollback()
    applied = await migrating
    assert applied.migrations == ("0002_pre_column.sql",)


async def test_a_lock_that_is_never_free_is_named(
    cell_database: TestDatabase, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = cell_database.owner_dsn
    await migrate(dsn, package=package.name)
    monkeypatch.setattr(migrator, "LOCK_TRIES_MAX", 2)
    monkeypatch.setattr(migrator, "LOCK_PAUSE_S", 0.01)
    package.write("0002_pre_column.sql", f"alter table {package.name}.t add column m integer;")
    with psycopg.connect(dsn) as reader:
        reader.execute(f"select count(*) from {package.name}.t")
        with pytest.raises(MigrationError, match=r"0002_pre_column.sql: its lock was not free in 2 tries"):
            await migrate(dsn, package=package.name)
    assert (await migrate(dsn, package=package.name)).migrations == ("0002_pre_column.sql",)


async def test_a_build_that_ended_in_the_middle_is_begun_again(
    cell_database: TestDatabase, package: Package, owner: Any
) -> None:
    """It leaves an index that is written and never read; `if not exists` alone would take that for done."""
    dsn, name = cell_database.owner_dsn, package.name
    await migrate(dsn, package=name)
    owner.execute(f"insert into {name}.t values (1), (1)")
    package.write(
        "0002_pre_index.sql",
        f"-- no transaction\n-- Why: a test.\ncreate unique index concurrently if not exists t_n on {name}.t (n);\n",
    )
    valid = "select indisvalid from pg_index where indexrelid = to_regclass(%s)"
    with pytest.raises(MigrationError, match=r"(?s)0002_pre_index.sql: .*is duplicated"):
        await migrate(dsn, package=name)
    assert owner.execute(valid, [f"{name}.t_n"]).fetchone() == (False,)
    owner.execute(f"delete from {name}.t")
    assert (await migrate(dsn, package=name)).migrations == ("0002_pre_index.sql",)
    assert owner.execute(valid, [f"{name}.t_n"]).fetchone() == (True,)
    # killed between the build and its record
    owner.execute("delete from migrations.applied where name = '0002_pre_index.sql'")
    before = owner.execute("select to_regclass(%s)::oid", [f"{name}.t_n"]).fetchone()
    assert (await migrate(dsn, package=name)).migrations == ("0002_pre_index.sql",)
    assert owner.execute("select to_regclass(%s)::oid", [f"{name}.t_n"]).fetchone() == before


@pytest.mark.parametrize(
    "text",
    [
        "-- no transaction\nselect 1; select 2;",
        "-- no transaction\nselect 1",
        "-- no transaction\ncreate index concurrently t_n on x.t (n);",
    ],
)
async def test_what_cannot_be_begun_again_is_refused(cell_database: TestDatabase, package: Package, text: str) -> None:
    package.write("0002_pre_index.sql", text)
    with pytest.raises(MigrationError, match=r"(?s)0002_pre_index.sql: .*(one statement|if not exists)"):
        await migrate(cell_database.owner_dsn, package=package.name)


async def test_pre_leaves_post_for_later_and_a_fresh_database_takes_them_in_order(
    cell_database: TestDatabase, package: Package, owner: Any
) -> None:
    """A later `pre` may stand on an earlier `post`, where nobody runs."""
    name = package.name
    package.write("0002_post_column.sql", f"alter table {name}.t add column m integer;")
    package.write("0003_pre_check.sql", f"create table {name}.u (n integer);")
    pre = await migrate(cell_database.owner_dsn, package=name, phase=MigrationPhase.PRE)
    assert pre.migrations == ("0001_pre_table.sql", "0003_pre_check.sql")
    assert pre.waiting == ("0002_post_column.sql",)
    post = await migrate(cell_database.owner_dsn, package=name, phase=MigrationPhase.POST)
    assert post.migrations == ("0002_post_column.sql",)
    owner.execute(f"drop schema {name} cascade")
    owner.execute("delete from migrations.applied where name = any(%s)", [[*pre.migrations, *post.migrations]])
    both = await migrate(cell_database.owner_dsn, package=name)
    assert both.migrations == ("0001_pre_table.sql", "0002_post_column.sql", "0003_pre_check.sql")
