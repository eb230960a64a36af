"""The roles of a running server are what the table says, whatever an older release or somebody's hand left there."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from infra.backends.backend import BackendError
from infra.backends.local.postgres import Cluster, set_up_roles
from infra.backends.roles import AUDITOR_CONNECTIONS, CONTROL, CONTROL_LEADER, SUPERUSER, scram_verifier
from infra.runtime.migrator import migrate
from tests.support.killable_postgres import PostgresServer, killable_postgres

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of its own: roles belong to a whole server, and other tests need those of the shared one."""
    with killable_postgres() as postgres:
        yield postgres.server


@pytest.fixture
def root(server: PostgresServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The superuser of a server that has roles and database of an older release: no `control_leader`."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        for role in (CONTROL.owner, CONTROL.service, CONTROL.auditor):
            connection.execute(f"create role {role}".encode())
        connection.execute("create database control owner control_owner")
        try:
            yield connection
        finally:
            connection.execute("drop database control with (force)")
            for role in reversed(CONTROL.all):
                connection.execute(f"drop role if exists {role}".encode())


@pytest.fixture
def cluster(root: psycopg.Connection[tuple[object, ...]], server: PostgresServer, tmp_path: Path) -> Cluster:
    passwords = {SUPERUSER: server.password, **{role: f"of {role}".replace(" ", "-") for role in CONTROL.all}}
    found = Cluster("control-postgres", tmp_path, server.port, CONTROL, passwords)
    passfile(tmp_path, found)
    return found


def passfile(folder: Path, cluster: Cluster) -> Path:
    path = folder / "pgpass"
    path.touch(mode=0o600)
    path.write_text("\n".join(cluster.pgpass_lines()) + "\n")
    return path


def log_in(cluster: Cluster, role: str) -> str:
    with psycopg.connect(cluster.dsn_with_password(role)) as connection:
        row = connection.execute("select current_user").fetchone()
        assert row is not None
        return str(row[0])


async def test_an_older_server_gets_the_role_that_a_new_release_needs_before_its_migrations(
    cluster: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(psycopg.OperationalError):
        log_in(cluster, CONTROL_LEADER)
    for _ in range(2):
        await set_up_roles(cluster, tmp_path / "pgpass")
    assert [log_in(cluster, role) for role in CONTROL.all] == list(CONTROL.all)
    await migrate(cluster.dsn(CONTROL.owner, tmp_path / "pgpass"), package="shardctl")


async def test_what_somebody_changed_by_hand_is_put_back(
    cluster: Cluster, root: psycopg.Connection[tuple[object, ...]], tmp_path: Path
) -> None:
    await set_up_roles(cluster, tmp_path / "pgpass")
    for statement in (
        "alter role control_service superuser createdb createrole replication bypassrls nologin connection limit 0",
        "alter role control_service password 'known to many' valid until '2020-01-01'",
        "alter role control_service set search_path = public",
        "alter role control_service in database control set statement_timeout = 1",
        "alter role control_auditor reset all",
        "alter role control_auditor connection limit -1",
        "grant pg_write_all_data, control_owner to control_service",
        "grant pg_read_all_data to control_auditor with admin option",
        "set role control_auditor",
        "grant pg_read_all_data to control_leader",
        "reset role",
        "revoke control_auditor from control_owner",
    ):
        root.execute(statement)
    await set_up_roles(cluster, tmp_path / "pgpass")
    assert log_in(cluster, CONTROL.service) == CONTROL.service
    attributes = root.execute(
        "select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls, rolconnlimit"
        " from pg_roles where rolname = any (%s) order by rolname",
        [list(CONTROL.all)],
    ).fetchall()
    limits = {CONTROL.auditor: AUDITOR_CONNECTIONS}
    assert attributes == [(False, limits.get(role, -1)) for role in sorted(CONTROL.all)]
    members = root.execute(
        "select m.rolname, g.rolname from pg_auth_members a join pg_roles m on m.oid = a.member"
        " join pg_roles g on g.oid = a.roleid where m.rolname = any (%s)",
        [list(CONTROL.all)],
    ).fetchall()
    assert members == [(CONTROL.owner, CONTROL.auditor)]
    settings = root.execute(
        "select count(*) from pg_db_role_setting s join pg_roles r on r.oid = s.setrole where r.rolname = %s",
        [CONTROL.service],
    ).fetchone()
    assert settings == (0,)
    with psycopg.connect(cluster.dsn_with_password(CONTROL.auditor)) as auditor:
        assert auditor.execute("show default_transaction_read_only").fetchone() == ("on",)


async def test_no_password_is_sent_or_kept(cluster: Cluster, root: psycopg.Connection[tuple[object, ...]]) -> None:
    verifier = scram_verifier("a", "secret")
    assert verifier == scram_verifier("a", "secret")
    assert len({verifier, scram_verifier("b", "secret"), scram_verifier("a", "secret ")}) == 3
    assert "secret" not in verifier


async def test_a_server_that_does_not_answer_is_named(cluster: Cluster, tmp_path: Path) -> None:
    away = Cluster("control-postgres", tmp_path, 1, CONTROL, cluster.passwords)
    with pytest.raises(BackendError, match="control-postgres refused the set-up of its roles"):
        await set_up_roles(away, passfile(tmp_path, away))
