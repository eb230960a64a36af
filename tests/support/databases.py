"""A fresh, migrated database per test: cloned from a template that the migrations built once per session."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from infra.backends.roles import (
    CELL,
    CELL_MOVER,
    CONTROL,
    CONTROL_LEADER,
    DatabaseRoles,
    database_rights,
    database_statements,
    server_statements,
)
from infra.runtime.dsn import with_code
from infra.runtime.migrator import migrate
from infra.runtime.release_code import release_code
from infra.runtime.statements import run_statements
from tests.support.killable_postgres import PostgresServer
from tests.support.newer_schema import bring_to_newer_schema

_PASSWORD: LiteralString = "test-only"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class TestDatabase:
    """One database, with the DSN of each role (passwords included: it lives for one test). Sessions have the
    path of this checkout's code and its name, as those of a running release."""

    __test__ = False

    name: str
    owner_dsn: str
    service_dsn: str
    auditor_dsn: str
    superuser_dsn: str
    leader_dsn: str
    """Of the control service, in a control database."""
    mover_dsn: str
    """Of what carries users, in a cell's database."""

    def rehearse(self, ahead_max: str) -> None:
        """As in a database whose owner says that it rehearses: a session's clock counts where an age protects."""
        with psycopg.connect(self.superuser_dsn, autocommit=True) as root:
            root.execute("insert into brokerage.rehearsal (ahead_max) values (%s)", [ahead_max])


@dataclass(frozen=True)
class Template:
    """A migrated database that nobody is connected to, so that it can be cloned."""

    server: PostgresServer
    roles: DatabaseRoles
    name: str
    code: str
    """Schema of the code that is installed."""

    @contextmanager
    def clone(self) -> Iterator[TestDatabase]:
        name = f"{self.roles.database}_test_{next(_numbers)}"
        # files are copied as they are: half the time of the default, which writes every page to the log
        create = sql.SQL("create database {} template {} owner {} strategy file_copy")
        with psycopg.connect(self.server.superuser_dsn, autocommit=True) as connection:
            connection.execute(create.format(*(sql.Identifier(part) for part in (name, self.name, self.roles.owner))))
            # the rights on a database are no part of a template, those on what is in it are
            for statement in database_rights(self.roles, name):
                connection.execute(statement.encode())
        try:
            yield _database(self.server, self.roles, name, self.code)
        finally:
            _execute(self.server, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def build_template(server: PostgresServer, roles: DatabaseRoles, package: str) -> Template:
    """Roles as the backend makes them, then the package's migrations, once."""
    name = f"{roles.database}_template"
    for role in roles.all:
        _execute(server, _ensure_role(role))
    _run(server.superuser_dsn, server_statements(roles))
    _execute(server, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    _execute(server, sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(roles.owner)))
    code = release_code(package).schema
    database = _database(server, roles, name, code)
    _run(database.superuser_dsn, database_statements(roles, name))
    asyncio.run(migrate(database.owner_dsn, package=package))
    bring_to_newer_schema(package, database.owner_dsn)
    return Template(server, roles, name, code)


def build_cell_template(server: PostgresServer) -> Template:
    return build_template(server, CELL, "cell")


def build_control_template(server: PostgresServer) -> Template:
    return build_template(server, CONTROL, "shardctl")


def _database(server: PostgresServer, roles: DatabaseRoles, name: str, code: str) -> TestDatabase:
    dsns = [server.dsn(role, _PASSWORD, name) for role in (roles.owner, roles.service, roles.auditor)]
    owner, service, auditor, superuser = (
        with_code(dsn, code, "test") for dsn in (*dsns, server.dsn(server.user, server.password, name))
    )
    others = (with_code(server.dsn(role, _PASSWORD, name), code, "test") for role in (CONTROL_LEADER, CELL_MOVER))
    return TestDatabase(name, owner, service, auditor, superuser, *others)


def _ensure_role(role: str) -> sql.Composed:
    statement = sql.SQL(
        "do $$ begin if not exists (select from pg_roles where rolname = {name}) then create role {role}; end if; end "
        "$$;"
        " alter role {role} login password {password}"
    )
    return statement.format(name=sql.Literal(role), role=sql.Identifier(role), password=sql.Literal(_PASSWORD))


def _execute(server: PostgresServer, statement: sql.Composed) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(statement)


def _run(dsn: str, statements: list[str]) -> None:
    asyncio.run(run_statements(dsn, statements))
