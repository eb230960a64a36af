"""Take what a source gave: write a frame's rows, then say what is here, in one transaction.

Loading a frame again is harmless: rows are told by their keys. Nothing is written unless this move brings the user
here; nobody else reads what is written until the user is active (ownership is asked after every read).
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from psycopg import sql

from cell.move.attest import TEXT_OF_ROWS, WRITTEN_HERE, digests, find, rows_of
from cell.move.export import Since, lock, read_head
from cell.move.frame import Frame, TableRows
from cell.move.tables import TABLES, Change, UserTable
from infra.runtime.database import Connection
from infra.runtime.problem import Problem

_ARRIVING: Final[LiteralString] = (
    "select owner_state = 'arriving' and operation_id = %s from brokerage.users where user_id = %s"
)
_MONTHS: Final[LiteralString] = (
    "select prepare_archive_months_v1("
    "array(select distinct (r ->> 'month')::date from json_array_elements(%s::json) r))"
)
_INSERT: Final[LiteralString] = (
    "insert into {table} ({columns}) select {columns} from json_populate_recordset(null::{table}, %s::json)"
    " on conflict ({key}) do update set {changes}"
)
_DELETE: Final[LiteralString] = "delete from {table} where user_id = %s"
_TAKE_HEAD: Final[LiteralString] = "select take_head_v1(%s, %s, %s::jsonb, %s::jsonb)"
_BY_NAME: Final = {table.name: table for table in TABLES}


async def load(connection: Connection, frame: Frame) -> dict[str, Any]:
    """The proof that the header asks for. Raises Problem 409 MOVE_UNKNOWN or 422. The caller's transaction."""
    header = frame.header
    user_id, move_id = UUID(header.user_id), UUID(header.move_id)
    await lock(connection, user_id)
    row = await (await connection.execute(_ARRIVING, [move_id, user_id])).fetchone()
    if row is None or not row[0]:
        raise Problem(409, "MOVE_CONFLICT", "this move does not bring the user here")
    if unknown := [rows.table for rows in header.tables if rows.table not in _BY_NAME]:
        raise Problem(422, "FRAME_INVALID", f"{', '.join(unknown)}: no table that travels")
    async with connection.pipeline():  # one round trip for all of them
        for rows, data in zip(header.tables, frame.rows, strict=True):
            await _write(connection, _BY_NAME[rows.table], rows, data, user_id)
    if header.head is None:
        return {"tables": {}, "head": None, "findings": {}}
    work = None if header.work is None else msgspec.json.encode(header.work).decode()
    head = msgspec.json.encode(header.head).decode()
    row = await (await connection.execute(_TAKE_HEAD, [user_id, move_id, head, work])).fetchone()
    if row is None or row[0] != "taken":
        raise Problem(409, "MOVE_CONFLICT", "this move does not bring the user here")
    return await _prove(connection, frame, user_id)


async def _write(connection: Connection, table: UserTable, rows: TableRows, data: bytes, user_id: UUID) -> None:
    name = sql.Identifier(*table.name.split("."))
    if rows.replaces:
        await connection.execute(sql.SQL(_DELETE).format(table=name), [user_id])
    if rows.rows == 0:
        return
    text = data.decode()
    if table.change is Change.ARCHIVED:
        await connection.execute(_MONTHS, [text])
    await connection.execute(
        sql.SQL(_INSERT).format(
            table=name,
            columns=_identifiers(rows.columns),
            key=_identifiers(table.key),
            changes=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in rows.columns
            ),
        ),
        [text],
        prepare=True,
    )


async def _prove(connection: Connection, frame: Frame, user_id: UUID) -> dict[str, Any]:
    header = frame.header
    since = Since.parse(header.since or "")
    await connection.execute(TEXT_OF_ROWS)
    parameters = {"user": user_id, "entry_seq": since.entry_seq, "order_event_seq": since.order_event_seq}
    asked = [
        (table, rows.columns, rows_of(table, header.attest or "all", WRITTEN_HERE))
        for rows in header.tables
        for table in [_BY_NAME[rows.table]]
    ]
    found = await digests(connection, asked, parameters)
    tables = {name: {"rows": count, "digest": value} for name, (count, value) in found.items()}
    findings = await find(connection, user_id, since.entry_seq if header.attest == "changed" else 0)
    return {"tables": tables, "head": await read_head(connection, user_id), "findings": findings}


def _identifiers(names: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)
