"""A role that may read everything but secrets, change nothing, take no locks, with few connections."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from infra.backends.local.postgres import Cluster, set_up_roles
from infra.backends.roles import AUDITOR_CONNECTIONS, CELL, CONTROL, SUPERUSER
from infra.runtime.migrator import migrate
from tests.support.databases import Template, TestDatabase
from tests.support.killable_postgres import KillablePostgres

pytestmark = pytest.mark.anyio

SECRETS = {
    "brokerage.customers.password_hash",
    "brokerage.leadership_terms.secret",
    "brokerage.refresh_families.current_hash",
    "brokerage.refresh_families.family_key",
    "brokerage.refresh_families.spent_hashes",
    "control.email_claims.email_hash",
    "control.email_claims.fingerprint",
    "control.email_claims.idempotency_key",
}
"""What the auditor may not read."""
NAMED_LIKE_SECRETS = {
    # the ledger's chain, which its owner and every reader of the topic may verify
    "brokerage.users.chain_head",
    "brokerage.journal_entries.hash",
    "brokerage.journal_entries.previous_hash",
    "code.all_journal_entries.hash",
    "code.all_journal_entries.previous_hash",
    "archive.journal_entries.hash",
    "archive.journal_entries.previous_hash",
    # what a command or a report said, to know it again: nothing in it is secret
    "brokerage.idempotency_keys.fingerprint",
    "brokerage.idempotency_keys.key",
    "brokerage.executions.fingerprint",
    "code.all_executions.fingerprint",
    "archive.executions.fingerprint",
    # with it everybody verifies what a cell has signed
    "control.cell_keys.public_key",
    # of an operation: what its planner saw, an operator's name of the request, the name of a step
    "control.operations.state_hash",
    "control.operations.idempotency_key",
    "control.operation_steps.key",
    # the chain of who did what, which its readers verify
    "control.audit.hash",
    "control.audit.previous_hash",
}
"""What looks like a secret by its name and is none: each one has been thought about."""
_LIKE_A_SECRET = re.compile(r"passw|secret|hash|token|fingerprint|salt|(^|_)key$|chain_head")

_COLUMNS: LiteralString = """
select case when n.nspname like 'code\\_%%' then 'code' else n.nspname end || '.' || c.relname || '.' || a.attname,
       has_column_privilege(%s, c.oid, a.attnum, 'select') and has_schema_privilege(%s, n.oid, 'usage')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
 where (n.nspname in ('brokerage', 'archive', 'control', 'migrations') or n.nspname like 'code\\_%%')
   and c.relkind in ('r', 'p', 'v', 'm')
   and a.attnum > 0 and not a.attisdropped and c.relname !~ '^leadership_of_'
"""


def columns_by_right(database: TestDatabase, auditor: str) -> dict[str, bool]:
    """Every column there is (of a release's views as `code.`), and whether the auditor reads it."""
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        cursor = connection.execute(_COLUMNS, [auditor, auditor])
        return dict(cursor.fetchall())


@pytest.fixture
def auditor(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell_database.auditor_dsn, autocommit=True) as connection:
        yield connection


def test_the_auditor_reads_every_column_but_the_secrets(
    cell_database: TestDatabase, control_database: TestDatabase
) -> None:
    found = columns_by_right(cell_database, CELL.auditor) | columns_by_right(control_database, CONTROL.auditor)
    assert {name for name, readable in found.items() if not readable} == SECRETS
    assert len(found) > 200


def test_a_column_named_like_a_secret_is_on_one_of_the_lists(
    cell_database: TestDatabase, control_database: TestDatabase
) -> None:
    found = columns_by_right(cell_database, CELL.auditor) | columns_by_right(control_database, CONTROL.auditor)
    named = {name for name in found if _LIKE_A_SECRET.search(name.rsplit(".", 1)[1])}
    assert named - SECRETS - NAMED_LIKE_SECRETS == set()
    assert (SECRETS | NAMED_LIKE_SECRETS) - set(found) == set(), "the lists name what is there"


def test_a_secret_is_not_read_by_a_detour(auditor: psycopg.Connection[Any]) -> None:
    """Whole rows, statistics and a copy ask for the same right."""
    for statement in (
        "select password_hash from brokerage.customers",
        "select c from brokerage.customers c",
        "select to_jsonb(f) from brokerage.refresh_families f",
        "copy brokerage.customers to stdout",
        "select * from brokerage.customers where password_hash like 'x%'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            auditor.execute(statement)
    seen = auditor.execute(
        "select count(*) from pg_stats where attname in ('password_hash', 'current_hash')"
    ).fetchone()
    assert seen == (0,)
    assert auditor.execute("select count(user_id), count(email) from brokerage.customers").fetchone() == (0, 0)


def test_the_auditor_takes_no_lock_that_anybody_waits_for(auditor: psycopg.Connection[Any]) -> None:
    """Advisory locks, row locks, and table locks beyond a reader's."""
    lockers = auditor.execute(
        r"select count(*), count(*) filter (where has_function_privilege(oid, 'execute')) from pg_proc"
        r" where proname ~ '^pg_(try_)?advisory_'"
    ).fetchone()
    assert lockers is not None
    assert lockers[0] > 15
    assert lockers[1] == 0
    auditor.execute("set default_transaction_read_only = off")
    for statement in (
        "select pg_try_advisory_lock(1702389091)",
        "select from brokerage.users for key share",
        "begin; lock table brokerage.users in row share mode",
        "begin; lock table brokerage.users in row exclusive mode",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            auditor.execute(statement)
        auditor.execute("rollback")


def test_nobody_but_the_owner_makes_anything(cell_database: TestDatabase) -> None:
    for dsn in (cell_database.auditor_dsn, cell_database.service_dsn):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            for statement in (
                "create temporary table x (a int)",
                "create table public.x (a int)",
                "create table brokerage.x (a int)",
                "create schema x",
                "select lo_create(0)",
                "select pg_try_advisory_lock(1)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(dsn, dbname="postgres")


def test_the_auditor_has_few_connections(cell_database: TestDatabase) -> None:
    held = []
    try:
        for _ in range(AUDITOR_CONNECTIONS):
            held.append(psycopg.connect(cell_database.auditor_dsn))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(cell_database.auditor_dsn)
    finally:
        for connection in held:
            connection.close()


def test_who_reads_for_too_long_is_ended_whatever_limits_they_took_off(
    auditor: psycopg.Connection[Any], cell_database: TestDatabase
) -> None:
    limits = auditor.execute(
        "select current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')"
    ).fetchone()
    assert limits == ("5min", "1min")
    auditor.execute("set statement_timeout = 0")
    auditor.execute("set idle_in_transaction_session_timeout = 0")
    auditor.execute("begin isolation level repeatable read")
    auditor.execute("select count(*) from brokerage.users")
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as service:
        assert service.execute("select end_long_readers_v1('10 minutes')").fetchone() == (0,)
        auditor.execute("select 1")
        service.execute("set brokerage.clock_offset = '1 day'")
        assert service.execute("select end_long_readers_v1('10 minutes')").fetchone() == (0,)
        assert service.execute("select end_long_readers_v1('0')").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        auditor.execute("select 1")


OLD_RIGHTS: tuple[LiteralString, ...] = (
    "grant pg_read_all_data to cell_auditor",
    "alter role cell_auditor connection limit -1",
    "alter role cell_auditor reset all",
    "alter role cell_auditor set default_transaction_read_only = on",
    "revoke cell_auditor from cell_owner",
    "grant connect, temporary on database postgres to public",
)
OLD_RIGHTS_IN_THE_DATABASE: tuple[LiteralString, ...] = (
    "grant execute on function pg_try_advisory_lock(bigint), pg_advisory_lock(bigint) to public",
)


async def test_the_data_directory_of_an_older_release_is_mended(
    mortal_postgres: KillablePostgres, mortal_template: Template, tmp_path: Path
) -> None:
    """As `up` does once the server runs: what the roles were given when the directory was made is taken away."""
    server = mortal_postgres.server
    passwords = {SUPERUSER: server.password, **dict.fromkeys(CELL.all, "test-only")}
    cluster = Cluster("old", tmp_path, server.port, CELL, passwords)
    passfile = tmp_path / "pgpass"
    passfile.touch(mode=0o600)
    passfile.write_text("\n".join(cluster.pgpass_lines()) + "\n")
    await migrate(cluster.dsn_with_password(CELL.owner), package="cell")
    for database, statements in ((SUPERUSER, OLD_RIGHTS), (CELL.database, OLD_RIGHTS_IN_THE_DATABASE)):
        with psycopg.connect(cluster.dsn_with_password(SUPERUSER, database), autocommit=True) as root:
            for statement in statements:
                root.execute(statement)
    with psycopg.connect(cluster.dsn_with_password(CELL.auditor), autocommit=True) as auditor:
        auditor.execute("select password_hash from brokerage.customers")
        assert auditor.execute("select pg_try_advisory_lock(1)").fetchone() == (True,)
        for _ in range(2):
            await set_up_roles(cluster, passfile)
        for statement in ("select password_hash from brokerage.customers", "select pg_try_advisory_lock(2)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                auditor.execute(statement)
        assert auditor.execute("select count(*) from brokerage.users").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(cluster.dsn_with_password(CELL.auditor, SUPERUSER))
