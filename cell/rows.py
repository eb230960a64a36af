"""Rows of statements as values. They are made by position, which is quick, after the names were compared: a column that
is moved, renamed or added in SQL alone fails the first call and can never become another field's value.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, LiteralString, TypeVar

from infra.runtime.database import Connection

Value = TypeVar("Value")
Parameters = Sequence[Any] | dict[str, Any]


class ColumnsDiffer(Exception):
    """A statement does not answer with the columns that its reader has fields for: our own mistake."""

    def __init__(self, found: Sequence[str], wanted: Sequence[str]) -> None:
        super().__init__(f"columns are {', '.join(found)}; fields are {', '.join(wanted)}")


def field_names(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass or a named tuple, in their order, which is that of the columns."""
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind))
    names: tuple[str, ...] = kind._fields
    return names


async def fetch_rows(
    connection: Connection, sql: LiteralString, parameters: Parameters, columns: Sequence[str]
) -> list[tuple[Any, ...]]:
    """All rows, whose columns are called `columns`. Raises ColumnsDiffer, and what the driver raises."""
    cursor = await connection.execute(sql, parameters)
    found = [column.name for column in cursor.description or ()]
    if found != list(columns):
        raise ColumnsDiffer(found, columns)
    return await cursor.fetchall()


async def fetch_values(
    connection: Connection, kind: type[Value], sql: LiteralString, parameters: Parameters
) -> list[Value]:
    """All rows, each a `kind`. Raises as `fetch_rows`."""
    return [kind(*row) for row in await fetch_rows(connection, sql, parameters, field_names(kind))]
