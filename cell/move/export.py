"""Read a user as the source: how much there is, pages while they trade, and what changed since a look, at one instant.

Reads only, by the mover's own role. A look is taken while the user's row is locked, for as long as it takes to export
a snapshot: no write of theirs is under way then, so what a snapshot sees is all there is, subtransactions included.
What is read afterwards reads by that snapshot, and the user trades on.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, Self
from uuid import UUID

import msgspec
from psycopg import sql

from cell.instant import one_instant
from cell.move.attest import CHANGED_SINCE, TEXT_OF_ROWS, digest_of, digests, find, rows_of, spell_digest
from cell.move.frame import FORMAT, Frame, Header, TableRows, encode_frame
from cell.move.tables import PARTS, ROWS_OF_A_PAGE, TABLES, WORK, Change, UserTable
from infra.runtime.database import Connection, Pool
from infra.runtime.problem import Problem
from infra.runtime.procedures import connected

CHANGED_ROWS_MAX: Final = 50_000
"""Of one look: more is a second copy, and the mover begins again."""
_LOCK: Final[LiteralString] = "select lock_users_v1(array[%s::uuid], true)"
_EXPORT: Final[LiteralString] = (
    "select pg_export_snapshot(), pg_current_snapshot()::text, owner_state, operation_id"
    " from brokerage.users where user_id = %s"
)
_NUMBERS: Final[LiteralString] = "select entry_seq, order_event_seq from brokerage.users where user_id = %s"
_UNFINISHED: Final[LiteralString] = "select unfinished_business_v1(%s)"
_COLUMNS: Final[LiteralString] = """
select n.nspname || '.' || c.relname, array_agg(a.attname::text order by a.attnum)
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
 where n.nspname || '.' || c.relname = any (%s) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
 group by 1
"""
_HEAD: Final[LiteralString] = """
select json_build_object(
           'profile', profile, 'restricted', restricted, 'cash_micros', cash_micros,
           'cash_held_micros', cash_held_micros, 'write_seq', write_seq, 'entry_seq', entry_seq,
           'order_event_seq', order_event_seq, 'chain_head', chain_head, 'created_at', created_at,
           'recent_order_ats', recent_order_ats, 'recent_order_values', recent_order_values,
           'recorded_at', recorded_at, 'recorded_since', recorded_since)::text
  from brokerage.users where user_id = %s
"""
_CHANGES: Final[LiteralString] = """
select {place}::integer as place, c.data, c.number, d.total, d.high, d.low
  from (select coalesce(json_agg(r), '[]')::text as data, count(*) as number
          from (select {columns} from {table} t where {rows} limit {most}) r) c
 cross join ({digest}) d
"""
"""Of one table: what changed, and the digest of what is attested. All tables are one statement: under a halt each
round trip is a customer's wait."""
_ROWS: Final[LiteralString] = (
    "select coalesce(json_agg(r), '[]')::text, count(*)"
    " from (select {columns} from {table} t where {rows} limit {most}) r"
)
_WORK: Final[LiteralString] = (
    "select {place}::integer, (select coalesce(json_agg(r), '[]')::text"
    " from (select {columns} from {table} t where t.user_id = %(user)s limit {most}) r)"
)
_SIZE: Final[LiteralString] = (
    "select count(*), coalesce(sum(pg_column_size(t.*)), 0)::bigint from {table} t where {rows}"
)


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A look's own mark: the next one asks for what came after it."""

    snapshot: str
    entry_seq: int
    order_event_seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Problem 422."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise Problem(422, "INVALID_FIELD", "since: what the last look said", field="since") from error

    def spell(self) -> str:
        return msgspec.json.encode(self).decode()


async def columns_of(connection: Connection) -> dict[str, list[str]]:
    """Of each table that travels, what is stored: a column of a newer release travels too."""
    names = [table.name for table in TABLES] + list(WORK)
    rows = await (await connection.execute(_COLUMNS, [names])).fetchall()
    return dict(rows)


async def measure(connection: Connection, user_id: UUID) -> dict[str, Any]:
    """Rows and bytes of what would travel."""
    tables, size = {}, 0
    for table in TABLES:
        statement = sql.SQL(_SIZE).format(table=_name(table), rows=sql.SQL(table.mine))
        row = await (await connection.execute(statement, {"user": user_id})).fetchone()
        assert row is not None
        tables[table.name], size = row[0], size + row[1]
    return {"tables": tables, "rows": sum(tables.values()), "bytes": size}


async def lock(connection: Connection, user_id: UUID) -> None:
    """The user's row, to the end of the transaction: no write of theirs is under way then."""
    await connection.execute(_LOCK, [user_id])


@asynccontextmanager
async def look(pool: Pool, user_id: UUID, move_id: UUID) -> AsyncIterator[tuple[Connection, str]]:
    """A read-only transaction at an instant at which no write of the user was under way, and that instant's snapshot.
    The user is locked while it begins, not longer. Raises Problem 409 if the move does not have the user."""
    async with connected(pool) as reader, one_instant(reader):
        async with connected(pool) as locker, locker.transaction():
            await lock(locker, user_id)
            row = await (await locker.execute(_EXPORT, [user_id])).fetchone()
            if row is None or row[2] != "active" or row[3] != move_id:
                raise Problem(409, "MOVE_CONFLICT", "the user is not in this move, or not trading")
            await reader.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(row[0])))
        yield reader, row[1]


async def mark_of(connection: Connection, user_id: UUID, snapshot: str) -> Since:
    """What the next look begins at, as this transaction sees the user."""
    row = await (await connection.execute(_NUMBERS, [user_id])).fetchone()
    assert row is not None
    return Since(snapshot, *row)


async def unfinished(connection: Connection, user_id: UUID) -> dict[str, int]:
    """What a move would be refused for; empty: nothing."""
    row = await (await connection.execute(_UNFINISHED, [user_id])).fetchone()
    assert row is not None
    return dict(row[0])


async def read_page(connection: Connection, move_id: UUID, user_id: UUID, place: object) -> tuple[bytes, object | None]:
    """The page at this place (None: the first) and the next place, or None at the end. Raises Problem 422."""
    number, after = _parse_place(place)
    part = PARTS[number]
    until: object = None
    async with one_instant(connection):
        if part.until is not None:
            parameters = {"user": user_id, "after": after, "rows": ROWS_OF_A_PAGE}
            row = await (await connection.execute(part.until, parameters)).fetchone()
            until = None if row is None else row[0]
        names = await columns_of(connection)
        frame = Frame(Header(FORMAT, str(move_id), str(user_id), "page", [], 0), [])
        if part.until is None or until is not None:
            condition = {"user": user_id, "after": after, "until": until}
            for table in TABLES:
                if table.part == part.name:
                    await _add(connection, frame, table, names, _of_page(table), condition)
    if part.until is not None and until is not None:
        return encode_frame(frame), [number, until]
    return encode_frame(frame), [number + 1, PARTS[number + 1].first] if number + 1 < len(PARTS) else None


async def read_changes(connection: Connection, header: Header, since: Since, *, with_work: bool) -> Frame:
    """What came after `since`, as this transaction sees it, with the digests that the header asks for."""
    user_id = UUID(header.user_id)
    await connection.execute(TEXT_OF_ROWS)
    names = await columns_of(connection)
    parameters = {
        "user": user_id,
        "snapshot": since.snapshot,
        "entry_seq": since.entry_seq,
        "order_event_seq": since.order_event_seq,
    }
    asked = [table for table in TABLES if table.change is not Change.ARCHIVED or header.attest == "all"]
    queries = [
        sql.SQL(_CHANGES).format(
            place=sql.Literal(place),
            columns=_columns(names[table.name]),
            table=_name(table),
            # nothing comes to the archive while a move has the user: it is attested, and not read again
            rows=sql.SQL("false" if table.change is Change.ARCHIVED else rows_of(table, "changed", CHANGED_SINCE)),
            most=CHANGED_ROWS_MAX + 1,
            digest=digest_of(place, table, names[table.name], rows_of(table, header.attest or "all", CHANGED_SINCE)),
        )
        for place, table in enumerate(asked)
    ]
    statement = sql.SQL(" union all ").join(queries) + sql.SQL(" order by 1")
    rows = await (await connection.execute(statement, parameters, prepare=True)).fetchall()
    frame = Frame(header, [])
    changed = 0
    for table, (_, text, number, total, high, low) in zip(asked, rows, strict=True):
        data, replaces = text.encode(), table.change is Change.WHOLE
        columns, value = list(names[table.name]), spell_digest(high, low)
        frame.header.tables.append(TableRows(table.name, columns, number, len(data), replaces, value, total))
        frame.rows.append(data)
        changed += 0 if replaces else number
    if changed > CHANGED_ROWS_MAX:
        raise Problem(409, "MOVE_TOO_LARGE", f"more than {CHANGED_ROWS_MAX} rows changed since the last look")
    head = await read_head(connection, user_id)
    work = await _work(connection, user_id, names) if with_work else None
    full = msgspec.structs.replace(frame.header, head=head, work=work, changed_rows=changed, since=since.spell())
    return Frame(full, frame.rows)


async def read_head(connection: Connection, user_id: UUID) -> dict[str, Any]:
    """The user's row, but for who owns it."""
    row = await (await connection.execute(_HEAD, [user_id])).fetchone()
    assert row is not None
    head: dict[str, Any] = msgspec.json.decode(row[0])
    return head


async def attest(connection: Connection, user_id: UUID) -> dict[str, Any]:
    """What this cell has of the user, as a target would prove it: rows and digests per table, the head, findings."""
    await connection.execute(TEXT_OF_ROWS)
    names = await columns_of(connection)
    asked = [(table, names[table.name], table.mine) for table in TABLES]
    found = await digests(connection, asked, {"user": user_id})
    tables = {name: {"rows": rows, "digest": value} for name, (rows, value) in found.items()}
    return {
        "tables": tables,
        "head": await read_head(connection, user_id),
        "findings": await find(connection, user_id, 0),
    }


async def _work(connection: Connection, user_id: UUID, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Rows by table, in one statement. Raises Problem 409: nothing may be left behind."""
    queries = [
        sql.SQL(_WORK).format(
            place=sql.Literal(place),
            columns=_columns(names[name]),
            table=sql.Identifier(*name.split(".")),
            most=CHANGED_ROWS_MAX + 1,
        )
        for place, name in enumerate(WORK)
    ]
    statement = sql.SQL(" union all ").join(queries)
    rows = await (await connection.execute(statement, {"user": user_id}, prepare=True)).fetchall()
    work: dict[str, Any] = {WORK[place].split(".")[1]: msgspec.json.decode(text) for place, text in rows}
    for name, waiting in work.items():
        if len(waiting) > CHANGED_ROWS_MAX:
            raise Problem(409, "MOVE_TOO_LARGE", f"more than {CHANGED_ROWS_MAX} rows wait in {name}: is Kafka away?")
    return work


async def _add(
    connection: Connection,
    frame: Frame,
    table: UserTable,
    names: Mapping[str, Sequence[str]],
    rows: LiteralString,
    parameters: Mapping[str, object],
) -> None:
    columns = list(names[table.name])
    statement = sql.SQL(_ROWS).format(
        columns=_columns(columns), table=_name(table), rows=sql.SQL(rows), most=CHANGED_ROWS_MAX + 1
    )
    row = await (await connection.execute(statement, parameters)).fetchone()
    assert row is not None
    data = row[0].encode()
    replaces = table.change is Change.WHOLE
    frame.header.tables.append(TableRows(table.name, columns, row[1], len(data), replaces))
    frame.rows.append(data)


def _of_page(table: UserTable) -> LiteralString:
    return f"{table.mine} and {table.page}"


def _name(table: UserTable) -> sql.Identifier:
    return sql.Identifier(*table.name.split("."))


def _columns(names: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier("t", name) for name in names)


def _parse_place(place: object) -> tuple[int, object]:
    if place is None:
        return 0, PARTS[0].first
    match place:
        case [int(number), after] if 0 <= number < len(PARTS):
            return number, after
    raise Problem(422, "INVALID_FIELD", "place: what the last page said", field="place")
