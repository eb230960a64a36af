"""A database that came through the releases is the one that was made today: tables, rights and code, by the catalogue.

The way from the layout before code schemas, where routines lay beside the tables and were replaced where they stood,
with a server of that layout running all the while.
"""

from typing import Any

import psycopg
import pytest

from infra.runtime.migrator import MigrationError, MigrationPhase, migrate
from infra.runtime.release_code import release_code
from tests.support.bare_cell import Cell
from tests.support.catalogue import differences, read_catalogue
from tests.support.databases import Template, TestDatabase
from tests.support.releases import install_old_layout

pytestmark = pytest.mark.anyio

PACKAGES = {"cell": "brokerage", "shardctl": "control"}


def without_options(dsn: str) -> str:
    return dsn.partition("?")[0]


def old_server(database: TestDatabase, tables: str) -> psycopg.Connection[Any]:
    """A session of a release that called its routines by the schema of the tables; its name says no release."""
    options = f"-c search_path={tables}"
    dsn = without_options(database.service_dsn)
    return psycopg.connect(dsn, autocommit=True, application_name="cell-1-api", options=options)


@pytest.mark.parametrize("package", PACKAGES)
async def test_an_old_database_becomes_what_a_fresh_one_is(
    package: str, cell_template: Template, control_template: Template
) -> None:
    template = cell_template if package == "cell" else control_template
    tables, code = PACKAGES[package], release_code(package)
    with template.clone() as fresh, template.clone() as old:
        with psycopg.connect(without_options(old.owner_dsn), autocommit=True) as owner:
            install_old_layout(owner, package, tables)
        with old_server(old, tables) as running:
            running.execute("select clock_v1()") if package == "cell" else running.execute("select cell_loads_v1()")
            pre = await migrate(old.owner_dsn, package=package, phase=MigrationPhase.PRE)
            assert (pre.code, pre.installed, len(pre.migrations)) == (code.schema, True, 1)
            assert pre.waiting
            running.execute("select clock_v1()") if package == "cell" else running.execute("select cell_loads_v1()")
            with pytest.raises(MigrationError, match="cell-1-api"):
                await migrate(old.owner_dsn, package=package, phase=MigrationPhase.POST)
            both = await migrate(old.owner_dsn, package=package)
            assert both.waiting == pre.waiting, "`up` beside an old server leaves it for later"
        post = await migrate(old.owner_dsn, package=package, phase=MigrationPhase.POST)
        assert post.migrations == pre.waiting
        with psycopg.connect(fresh.superuser_dsn) as one, psycopg.connect(old.superuser_dsn) as other:
            assert differences(read_catalogue(one, code.schema), read_catalogue(other, code.schema)) == []
            assert len(read_catalogue(one, code.schema)) > (300 if package == "cell" else 60)


async def test_both_layouts_trade_on_one_database(cell_template: Template) -> None:
    """Between `pre` and `post`: a key used by one is replayed by the other, and the old server notices nothing."""
    with cell_template.clone() as database:
        with psycopg.connect(without_options(database.owner_dsn), autocommit=True) as owner:
            install_old_layout(owner, "cell", "brokerage")
        old = Cell(f"{without_options(database.service_dsn)}?options=-c%20search_path%3Dbrokerage")
        with old.connection:
            old.call("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
            user = old.user(cash=10**12)
            [before] = old.place([user], key="before")
            await migrate(database.owner_dsn, package="cell", phase=MigrationPhase.PRE)
            new = Cell(database.service_dsn)
            with new.connection:
                assert new.place([user], key="before")[0][1:3] == (before[1], True)
                [during] = new.place([user], key="during")
                assert old.place([user], key="during")[0][1:3] == (during[1], True)
                assert old.place([user], key="after")[0][0] == "accepted"
        post = await migrate(database.owner_dsn, package="cell", phase=MigrationPhase.POST)
        assert post.waiting == ()
        with Cell(database.service_dsn).connection as still:
            assert still.execute("select count(*) from brokerage.orders").fetchone() == (3,)


def test_a_difference_is_found(cell_database: TestDatabase, root: psycopg.Connection[Any]) -> None:
    """The comparison sees a column, a right, a body, an index and a default."""
    code = release_code("cell").schema
    before = read_catalogue(root, code)
    for statement in (
        "alter table brokerage.users add column x integer",
        "grant insert on brokerage.orders to cell_service",
        "create or replace function floor_px_v1(reference_px bigint) returns bigint language sql immutable return 1",
        "create index on brokerage.orders (symbol)",
        "alter table brokerage.users alter column recorded_at set default now()",
        "revoke execute on function clock_v1() from cell_service",
    ):
        root.execute(statement)
        after = read_catalogue(root, code)
        assert differences(before, after) != [], statement
        before = after
