"""A new column is carried before it is written: every routine that moves rows by named columns names each of them.

Condition 12 of code in the database. Release N adds a column and copies it here; N+1 is the first to fill it. Otherwise
N-1 archives a row of N+1 and its value is gone, and no check sees it.
"""

import re
from typing import Any

import psycopg
import pytest

from infra.runtime.sql_files import read_sql

MOVES = {
    ("archive_history_v1", "postings"): set[str](),
    ("archive_history_v1", "journal_entries"): set(),
    ("archive_history_v1", "order_events"): set(),
    ("archive_history_v1", "executions"): set(),
    ("recall_executions_v1", "executions"): set(),
    ("quarantine_report_v1", "inbox"): {"received_at"},
    ("retry_report_v1", "quarantined_reports"): set(),
    ("return_early_reports_v1", "early_reports"): {"waits_until"},
    ("end_early_reports_v1", "early_reports"): {"received_at", "trade_date", "ref_exec_id"},
}
"""Routine and table to the columns that end with the move, each of which has been thought about. A mover of users joins
the list when there is one."""
_COLUMNS = """
select attname from pg_attribute
 where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attgenerated = ''
"""


def columns(root: psycopg.Connection[Any], table: str) -> set[str]:
    return {str(name) for (name,) in root.execute(_COLUMNS, [table]).fetchall()}


def not_named(text: str, names: set[str]) -> set[str]:
    return {name for name in names if not re.search(rf"\b{name}\b", text)}


@pytest.mark.parametrize(("routine", "table"), MOVES)
def test_condition_12_a_routine_that_moves_rows_names_every_column(
    routine: str, table: str, root: psycopg.Connection[Any]
) -> None:
    texts = {item.name: item.text for item in read_sql("cell", "procedures")}
    found = columns(root, f"brokerage.{table}")
    assert len(found) > 5
    assert not_named(texts[f"{routine}.sql"], found) == MOVES[routine, table]


@pytest.mark.parametrize("table", ["postings", "journal_entries", "order_events", "executions"])
def test_condition_12_the_archive_has_every_column(table: str, root: psycopg.Connection[Any]) -> None:
    assert columns(root, f"archive.{table}") == columns(root, f"brokerage.{table}") | {"month"}


def test_condition_12_a_column_that_is_not_carried_is_found(root: psycopg.Connection[Any]) -> None:
    root.execute("alter table brokerage.executions add column settled_by text")
    text = {item.name: item.text for item in read_sql("cell", "procedures")}["archive_history_v1.sql"]
    assert not_named(text, columns(root, "brokerage.executions")) == {"settled_by"}
