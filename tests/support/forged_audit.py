"""What somebody with every right over the control database does to the audit chain; the trigger is off meanwhile."""

from dataclasses import replace
from typing import Any

import psycopg

from shardctl.audit.queries import _ROWS
from shardctl.audit.row import AuditRow
from tests.support.databases import TestDatabase

_UPDATE = """
update control.audit set subject = %s, previous_hash = decode(%s, 'hex'), hash = decode(%s, 'hex') where number = %s
"""


def as_root(database: TestDatabase, statement: str, *parameters: Any) -> list[Any]:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as root:
        cursor = root.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def all_rows(database: TestDatabase) -> list[AuditRow]:
    return [AuditRow(*row) for row in as_root(database, _ROWS, 0, 1_000_000)]


def rewrite_one(database: TestDatabase, number: int, *, subject: str) -> None:
    """With a right hash of its own; what follows still names the old one."""
    _rewrite(database, all_rows(database)[number - 1], subject)


def rewrite_tail(database: TestDatabase, number: int, *, subject: str) -> None:
    """Attempts from that row on are somebody else's, and every hash is right again."""
    rows = all_rows(database)
    previous = rows[number - 2].hash
    for row in rows[number - 1 :]:
        previous = _rewrite(database, replace(row, previous_hash=previous), subject)


def _rewrite(database: TestDatabase, row: AuditRow, subject: str) -> str:
    new = replace(row, subject=row.subject and subject)
    new = replace(new, hash=new.own_hash())
    as_root(database, _UPDATE, new.subject, new.previous_hash, new.hash, new.number)
    return new.hash
