"""Code in the database belongs to the release: two share a database, none replaces what runs, all of it can go.

Each test names the condition that it holds; what only files can break is in `tests/unit/test_sql_rules.py`.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from infra.runtime.code_installer import RELEASES_MAX, CodeError
from infra.runtime.database import make_pool, release_is_installed
from infra.runtime.dsn import with_code
from infra.runtime.migrator import MigrationError, MigrationPhase, drop_unused_code, migrate
from infra.runtime.release_code import release_code
from infra.runtime.settings import PostgresSettings
from infra.security.keys import generate_key_files
from tests.support.app_server import app_server
from tests.support.bare_cell import Cell
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.releases import install, release_with

pytestmark = pytest.mark.anyio

Command = Callable[..., subprocess.CompletedProcess[str]]

OURS = release_code("cell").schema
PLAIN = "create or replace function {}() returns integer language sql {} as $$ {} $$;"
SETS = "set search_path from current"
PATHS = """
select p.proname, p.prosecdef, l.lanname, p.proconfig from pg_proc p join pg_language l on l.oid = p.prolang
 where p.pronamespace = %s::regnamespace
"""


@pytest.fixture
def owner(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell_database.owner_dsn, autocommit=True) as connection:
        yield connection


def schemas(connection: psycopg.Connection[Any]) -> set[str]:
    found = connection.execute(r"select nspname from pg_namespace where nspname like 'code\_%'").fetchall()
    return {name for (name,) in found}


def fake_release(number: int) -> Any:
    """One small routine more than this checkout's release has."""
    return release_with({"number_v1.sql": PLAIN.format("number_v1", SETS, f"select {number}")})


def test_condition_1_the_installer_sets_every_path(root: psycopg.Connection[Any]) -> None:
    rows = root.execute(PATHS, [OURS]).fetchall()
    assert len(rows) > 60
    plain = set()
    for name, is_definer, language, settings in rows:
        if not any(text.startswith("search_path=") for text in settings or ()):
            plain.add(name)
            assert (is_definer, language) == (False, "sql"), name
        else:
            assert f"search_path={OURS}, brokerage, pg_temp" in settings, name
    assert {"clock_v1", "round_half_even_v1"} <= plain, "inlined: a path would stop that"


def test_condition_2_what_is_no_code_of_the_release_is_an_error(cell_database: TestDatabase, root: Any) -> None:
    """And never what was left beside the tables; a schema without USAGE is passed over in silence."""
    root.execute("set search_path = brokerage")
    root.execute("create function clock_v1() returns integer language sql as 'select 1'")
    missing = with_code(cell_database.service_dsn.partition("?")[0], "code_000000000000", "x")
    with psycopg.connect(missing, autocommit=True) as connection, pytest.raises(psycopg.errors.UndefinedFunction):
        connection.execute("select clock_v1()")
    root.execute(psycopg.sql.SQL("revoke usage on schema {} from cell_service").format(psycopg.sql.Identifier(OURS)))
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.UndefinedFunction):
            connection.execute("select clock_v1()")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("select count(*) from users")


async def test_condition_2_a_pool_merges_its_options_with_those_of_the_dsn(cell_database: TestDatabase) -> None:
    dsn = f"{cell_database.service_dsn}%20-c%20work_mem%3D9MB"
    settings = PostgresSettings(dsn=dsn, lock_timeout_ms=321, code=OURS)
    async with make_pool(settings, "x") as pool, pool.connection() as connection:
        shown = []
        for name in ("work_mem", "lock_timeout", "search_path", "application_name"):
            row = await (await connection.execute("select current_setting(%s)", [name])).fetchone()
            assert row is not None
            shown.append(row[0])
    assert shown == ["9MB", "321ms", f"{OURS},pg_temp", f"x {OURS}"]


@pytest.mark.parametrize(("package", "tables"), [("cell", "brokerage"), ("shardctl", "control")])
def test_condition_3_beside_the_tables_is_no_code(
    package: str, tables: str, cell_database: TestDatabase, control_database: TestDatabase
) -> None:
    """Trigger functions belong to tables and call no release's code; the two views are locks."""
    database = cell_database if package == "cell" else control_database
    code = release_code(package)
    with psycopg.connect(database.superuser_dsn, autocommit=True) as root:
        left = root.execute(
            "select proname, prosrc, prorettype = 'trigger'::regtype from pg_proc"
            " where pronamespace = %s::regnamespace",
            [tables],
        ).fetchall()
        views = root.execute(
            "select relname from pg_class where relnamespace = %s::regnamespace and relkind = 'v'", [tables]
        ).fetchall()
    assert [name for name, _, is_trigger in left if not is_trigger] == []
    called = [name for _, body, _ in left for name in code.names("procedures") if f"{name}(" in body]
    assert called == []
    assert {name for (name,) in views} == (
        {"leadership_of_worker", "leadership_of_relay"} if package == "cell" else set()
    )


@pytest.mark.parametrize(
    ("procedures", "message"),
    [
        ({"bad_v1.sql": "select no_such_thing();"}, "procedures/bad_v1.sql"),
        ({"bad_v1.sql": PLAIN.format("other_v1", SETS, "select 1")}, "named after"),
        ({"bad_v1.sql": PLAIN.format("bad_v1", "set search_path = public", "select 1")}, "from current"),
        ({"bad_v1.sql": PLAIN.format("bad_v1", "security definer", "select 1")}, "from current"),
    ],
)
def test_condition_4_installing_is_whole_or_nothing(
    cell_database: TestDatabase, root: Any, procedures: dict[str, str], message: str
) -> None:
    code = release_with(procedures)
    with pytest.raises(CodeError, match=message):
        install(cell_database.owner_dsn, code)
    assert schemas(root) == {OURS}
    assert root.execute("select count(*) from migrations.code").fetchone() == (1,)


async def test_condition_6_a_schema_that_lost_a_part_is_not_installed_and_is_completed(
    cell_database: TestDatabase, root: Any, cell: Cell
) -> None:
    """As after a `drop column ... cascade`: the record and the schema are there, and two of five views are not."""
    settings = PostgresSettings(dsn=cell_database.service_dsn, code=OURS)
    async with make_pool(settings, "x", size=1) as pool:
        assert await release_is_installed(pool, settings)
        root.execute("drop view all_order_events cascade")
        assert not await release_is_installed(pool, settings)
        applied = await migrate(cell_database.owner_dsn, package="cell")
        assert (applied.code, applied.installed) == (OURS, True)
        assert await release_is_installed(pool, settings)
    assert cell.call("select count(*) from order_history") == [(0,)]


async def test_condition_7_an_app_server_without_its_code_is_not_ready(
    cell_database: TestDatabase, root: Any, tmp_path: Path
) -> None:
    """The database answers, and every order would get a 500."""
    generate_key_files(tmp_path)
    with app_server(cell_database, tmp_path) as server:
        async with httpx.AsyncClient() as client:

            async def ready() -> bool:
                try:
                    return (await client.get(f"{server.operator_url}/health/ready")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(ready, within_s=90.0)  # a process starts, on a machine that may be busy
            revoke = psycopg.sql.SQL("revoke usage on schema {} from cell_service")
            root.execute(revoke.format(psycopg.sql.Identifier(OURS)))
            answer = await client.get(f"{server.operator_url}/health/ready")
        assert answer.status_code == 503
        facts = answer.json()
        assert (facts["database"], facts["code"], facts["code_installed"]) == (True, OURS, False)


async def test_condition_8_code_that_a_session_names_is_kept(cell_database: TestDatabase) -> None:
    used, unused = fake_release(1), fake_release(2)
    for code in (used, unused):
        await asyncio.to_thread(install, cell_database.owner_dsn, code)
    bare = cell_database.service_dsn.partition("?")[0]
    with psycopg.connect(with_code(bare, used.schema, "cell-9-api"), autocommit=True) as running:
        assert running.execute("select number_v1()").fetchone() == (1,)
        assert await drop_unused_code(cell_database.owner_dsn, package="cell", keep=1) == (unused.schema,)
        assert running.execute("select number_v1()").fetchone() == (1,)
    assert await drop_unused_code(cell_database.owner_dsn, package="cell", keep=1) == (used.schema,)
    with psycopg.connect(cell_database.superuser_dsn) as root:
        assert schemas(root) == {OURS}
        assert root.execute("select schema from migrations.code").fetchall() == [(OURS,)]


async def test_condition_8_what_somebody_built_on_it_is_not_taken_along(cell_database: TestDatabase) -> None:
    code = fake_release(3)
    await asyncio.to_thread(install, cell_database.owner_dsn, code)
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
        view = "create view public.mine as select count(*) from {}.all_postings"
        root.execute(psycopg.sql.SQL(view).format(psycopg.sql.Identifier(code.schema)))
        with pytest.raises(MigrationError, match="something else was built on it"):
            await drop_unused_code(cell_database.owner_dsn, package="cell", keep=1)
        assert code.schema in schemas(root)
        assert root.execute("select * from public.mine").fetchone() == (0,)


async def test_condition_9_ten_releases_are_kept(cell_database: TestDatabase, root: Any) -> None:
    codes = [fake_release(number) for number in range(RELEASES_MAX + 2)]
    for code in codes:
        await asyncio.to_thread(install, cell_database.owner_dsn, code)
    applied = await migrate(cell_database.owner_dsn, package="cell")
    assert set(applied.dropped) == {code.schema for code in codes[:3]}, "the oldest; this release counts too"
    assert len(schemas(root)) == RELEASES_MAX
    assert OURS in schemas(root)


async def test_condition_10_post_waits_until_no_other_release_runs(cell_database: TestDatabase, root: Any) -> None:
    """And drops its code first, so that no kept view holds what a migration drops. Going back ends here."""
    other = fake_release(1)
    await asyncio.to_thread(install, cell_database.owner_dsn, other)
    root.execute("delete from migrations.applied where name like '0050%'")
    bare = cell_database.service_dsn.partition("?")[0]
    with psycopg.connect(with_code(bare, other.schema, "cell-9-api"), autocommit=True) as running:
        with pytest.raises(MigrationError, match="cell-9-api"):
            await migrate(cell_database.owner_dsn, package="cell", phase=MigrationPhase.POST)
        both = await migrate(cell_database.owner_dsn, package="cell")
        assert both.waiting == ("0050_post_code_of_releases.sql",)
        assert (both.migrations, both.dropped) == ((), ())
        assert running.execute("select number_v1()").fetchone() == (1,)
    post = await migrate(cell_database.owner_dsn, package="cell", phase=MigrationPhase.POST)
    assert (post.migrations, post.dropped) == (("0050_post_code_of_releases.sql",), (other.schema,))


async def test_condition_10_post_comes_after_pre(cell_database: TestDatabase, root: Any) -> None:
    root.execute("delete from migrations.applied where name like '0049%' or name like '0050%'")
    with pytest.raises(MigrationError, match=r"0049_pre_\w+\.sql comes before `post`"):
        await migrate(cell_database.owner_dsn, package="cell", phase=MigrationPhase.POST)


def test_condition_11_a_kept_release_refuses_that_a_type_changes(owner: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="used by a view"):
        owner.execute("alter table brokerage.executions alter column symbol type varchar(9)")
    owner.execute("alter table brokerage.executions add column symbol_2 varchar(9)")


def test_condition_14_checks_are_text_and_no_views(root: psycopg.Connection[Any]) -> None:
    """They would hold 159 of 249 columns against a change; what the auditor reads by name is eight views."""
    assert release_code("cell").names("checks") == frozenset()
    views = root.execute(
        "select relname from pg_class where relnamespace = %s::regnamespace and relkind = 'v' order by 1", [OURS]
    ).fetchall()
    assert [name for (name,) in views] == [
        "all_executions", "all_journal_entries", "all_order_events", "all_postings", "lost_sequences", "order_history",
        "sequences_elsewhere", "streams_elsewhere",
    ]  # fmt: skip


async def test_condition_15_what_is_installed_is_not_touched(cell_database: TestDatabase, root: Any) -> None:
    """No statement that makes every session plan anew."""
    marks = "select xmin::text, oid from pg_proc where pronamespace = %s::regnamespace order by oid"
    schema = "select xmin::text, nspacl::text from pg_namespace where nspname = %s"
    before = root.execute(marks, [OURS]).fetchall(), root.execute(schema, [OURS]).fetchall()
    applied = await migrate(cell_database.owner_dsn, package="cell")
    assert (applied.installed, applied.migrations, applied.dropped) == (False, (), ())
    assert (root.execute(marks, [OURS]).fetchall(), root.execute(schema, [OURS]).fetchall()) == before


async def test_two_releases_trade_for_one_customer(cell_database: TestDatabase, cell: Cell) -> None:
    """Each by its own routines; a key that one has used is replayed by the other; installing disturbs neither."""
    user = cell.user(cash=10**12)
    other = fake_release(1)
    await asyncio.to_thread(install, cell_database.owner_dsn, other)
    bare = cell_database.service_dsn.partition("?")[0]
    theirs = Cell(with_code(bare, other.schema, "cell-1-api"))
    failed: list[BaseException] = []
    stop = threading.Event()

    def trade() -> None:
        try:
            while not stop.is_set():
                assert [row[0] for row in cell.place([user], wait=True)] == ["accepted"]
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=trade)
    with theirs.connection:
        [first] = theirs.place([user], key="theirs")
        assert first[0] == "accepted"
        thread.start()
        try:
            for number in range(5, 10):
                await asyncio.to_thread(install, cell_database.owner_dsn, fake_release(number))
            await drop_unused_code(cell_database.owner_dsn, package="cell", keep=1)
        finally:
            stop.set()
            thread.join()
        assert failed == []
        [again] = cell.place([user], key="theirs")
        assert (again[0], again[1], again[2]) == ("accepted", first[1], True)


@pytest.fixture
def run(cell_database: TestDatabase, tmp_path: Path) -> Command:
    """`python -m cell` with the DSNs that a back end gives: they name no release's code."""
    environ = os.environ | {
        "CELL_NAME": "cell-1",
        "CELL_POSTGRES__DSN": cell_database.service_dsn.partition("?")[0],
        "CELL_POSTGRES__OWNER_DSN": cell_database.owner_dsn.partition("?")[0],
        "CELL_KEYS_DIR": str(tmp_path),
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "cell", *arguments]
        return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60)

    return command


def test_every_command_of_a_job_finds_its_code_by_itself(root: Any, run: Command) -> None:
    """A back end's jobs: `migrate`, `calendar`, `fence`, `prove`. The calendar's did not, and no test ran it."""
    root.execute("delete from brokerage.market_sessions")
    fence = ("--incarnation", str(uuid4()), "--backup", "cell-1-x", "--actor", "me", "--reason", "drill")
    for arguments in (("calendar",), ("migrate",), ("prove",), ("fence", *fence)):
        done = run(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        ((sessions,),) = root.execute("select count(*) from brokerage.market_sessions").fetchall()
        assert sessions > 500, "the year before and two years ahead"


def test_the_command_takes_a_phase_and_drops_code(cell_database: TestDatabase, root: Any, run: Command) -> None:
    """`pre` beside a running server, `post` refused while it is there, then `post` and what is left of its code."""
    other = fake_release(1)
    install(cell_database.owner_dsn, other)
    root.execute("delete from migrations.applied where name like '%code_of_releases%'")
    bare = cell_database.service_dsn.partition("?")[0]
    with psycopg.connect(with_code(bare, other.schema, "cell-9-api")):
        pre = run("migrate", "--phase", "pre")
        assert pre.returncode == 0, pre.stderr
        refused = run("migrate", "--phase", "post")
        assert refused.returncode == 1
        assert "cell-9-api" in refused.stderr + refused.stdout
        both = run("migrate")
        assert both.returncode == 0, both.stderr
        assert "--phase post" in both.stderr + both.stdout, "what waits is said"
    post = run("migrate", "--phase", "post")
    assert post.returncode == 0, post.stderr
    assert schemas(root) == {OURS}
    assert run("drop-code", "--keep", "1").returncode == 0
