"""The exchange's durable log: one SQLite file in WAL mode with synchronous=FULL.

A batch is one transaction, and `write` returns only when it is on disk; nothing in a batch may be sent to anybody
before that. So `kill -9` at any moment forgets no order that anyone heard of, and an exec id, once sent, is there.
Reports stay until acknowledged and are deleted with a later batch; losing that deletion only re-sends them.

One writer (its own thread) and one reader (the event loop's, for single rows and short ranges) on two connections.
A write that fails ends the process: the next start reads what is true.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from exchange.errors import LogInconsistent
from exchange.log_rows import (
    Batch,
    OrderRow,
    ReportRow,
    TapeKey,
    TapeRow,
    TradedOrder,
    order_row,
    order_values,
    tape_values,
    traded_order,
)
from exchange.prices import BasePrice

FORMAT: Final = "1"
"""Of the tables; a log of another format is refused, never converted by guessing."""
CACHE_KIB: Final = 16_384
"""SQLite's page cache of each connection: the live orders' pages of a busy day."""

_SCHEMA: Final = """
create table if not exists facts (name text primary key, value text not null) without rowid;
create table if not exists prices (
    symbol text primary key, px_micros integer not null, anchored_at_us integer not null) without rowid;
create table if not exists sessions (
    session text primary key, last_seq integer not null, acked_seq integer not null) without rowid;
create table if not exists reports (
    session text not null, seq integer not null, body blob not null, primary key (session, seq)) without rowid;
create table if not exists orders (
    cl_ord_id text primary key, session text not null, terms blob not null, venue_order_id text not null,
    ord_status text not null, cum_qty integer not null, fill_count integer not null, steps blob not null,
    waits integer not null, live integer not null, tape_symbol text, tape_run text, tape_id integer,
    cum_cost text) without rowid;
create index if not exists orders_live on orders (cl_ord_id) where live = 1;
drop index if exists orders_tape;
create index if not exists orders_of_tapes on orders (tape_symbol, tape_run, tape_id) where tape_id is not null;
create table if not exists tapes (
    symbol text not null, run text not null, digest text not null, content blob not null, loaded_at text not null,
    waits_for_replace integer not null default 0, primary key (symbol, run));
"""
_PUT_ORDER: Final = """
insert into orders (cl_ord_id, session, terms, venue_order_id, ord_status, cum_qty, fill_count, steps, waits, live,
                    tape_symbol, tape_run, tape_id, cum_cost) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (cl_ord_id) do update set ord_status = excluded.ord_status, cum_qty = excluded.cum_qty,
    fill_count = excluded.fill_count, steps = excluded.steps, waits = excluded.waits, live = excluded.live,
    cum_cost = excluded.cum_cost
"""
_PUT_TAPE: Final = """
insert or replace into tapes (symbol, run, digest, content, loaded_at, waits_for_replace) values (?, ?, ?, ?, ?, ?)
"""
_FIND_ORDER: Final = """
select session, terms, venue_order_id, ord_status, cum_qty, fill_count, steps, waits, live,
       tape_symbol, tape_run, tape_id, cum_cost
from orders where cl_ord_id = ?
"""
_LIVE_ORDERS: Final = """
select session, terms, venue_order_id, ord_status, cum_qty, fill_count, steps, waits, live,
       tape_symbol, tape_run, tape_id, cum_cost
from orders where live = 1
"""
# Every order by id, a page at a time; or those that are named.
_TRADED_ORDERS: Final = """
select cl_ord_id, session, ord_status, cum_qty, cum_cost, fill_count, terms
from orders where cl_ord_id > ? order by cl_ord_id limit ?
"""
_NAMED_ORDERS: Final = """
select cl_ord_id, session, ord_status, cum_qty, cum_cost, fill_count, terms
from orders where cl_ord_id in (select value from json_each(?)) order by cl_ord_id
"""


class DurableLog:
    """An open log."""

    def __init__(self, directory: Path) -> None:
        """Makes or opens the log in this directory. Raises LogInconsistent for one of another format."""
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "exchange.sqlite3"
        self._writer = _connect(self._path)
        self._writer.executescript(_SCHEMA)
        if "waits_for_replace" not in {row[1] for row in self._writer.execute("pragma table_info(tapes)")}:
            self._writer.execute("alter table tapes add column waits_for_replace integer not null default 0")
        if "cum_cost" not in {row[1] for row in self._writer.execute("pragma table_info(orders)")}:
            self._writer.execute("alter table orders add column cum_cost text")
        found = dict(self._writer.execute("select name, value from facts"))
        if found.setdefault("format", FORMAT) != FORMAT:
            raise LogInconsistent(f"{self._path} has format {found['format']}; this code reads {FORMAT}")
        self.log_id = found.get("log_id") or str(uuid4())
        with self._writer:
            self._writer.executemany(
                "insert or ignore into facts values (?, ?)", [("format", FORMAT), ("log_id", self.log_id)]
            )
        self._reader = _connect(self._path)

    def close(self) -> None:
        """Close both connections; what was written stays."""
        self._reader.close()
        self._writer.close()

    def write(self, batch: Batch) -> None:
        """Make a batch durable. Runs in the writer's thread."""
        cursor = self._writer.cursor()
        cursor.execute("begin immediate")
        try:
            cursor.executemany(_PUT_TAPE, map(tape_values, batch.tapes))
            cursor.executemany(_PUT_ORDER, map(order_values, batch.orders))
            cursor.executemany(
                "insert into reports values (?, ?, ?)", ((row.session, row.seq, row.body) for row in batch.reports)
            )
            cursor.executemany("insert or replace into sessions values (?, ?, ?)", batch.sessions)
            cursor.executemany(
                "delete from reports where session = ? and seq <= ?",
                ((session, acked_seq) for session, _, acked_seq in batch.sessions),
            )
            cursor.executemany(
                "insert or replace into prices values (?, ?, ?)",
                ((symbol, base.px_micros, base.anchored_at_us) for symbol, base in batch.prices),
            )
            cursor.executemany("insert or replace into facts values (?, ?)", batch.facts)
            cursor.execute("commit")
        except BaseException:
            if self._writer.in_transaction:
                cursor.execute("rollback")
            raise

    def find_order(self, cl_ord_id: str) -> OrderRow | None:
        """An order that is no longer in memory, if it ever was."""
        found = self._reader.execute(_FIND_ORDER, (cl_ord_id,)).fetchone()
        return None if found is None else order_row(found)

    def traded_orders(self, after: str, limit: int) -> list[TradedOrder]:
        """The next orders by id, as they are on disk."""
        return [traded_order(found) for found in self._reader.execute(_TRADED_ORDERS, (after, limit))]

    def named_orders(self, cl_ord_ids: Sequence[str]) -> list[TradedOrder]:
        """Those of these that are on disk."""
        names = msgspec.json.encode(list(cl_ord_ids)).decode()
        return [traded_order(found) for found in self._reader.execute(_NAMED_ORDERS, (names,))]

    def reports_after(self, session: str, seq: int, limit: int) -> list[ReportRow]:
        """The next reports of a session in order."""
        rows = self._reader.execute(
            "select seq, body from reports where session = ? and seq > ? order by seq limit ?", (session, seq, limit)
        )
        return [ReportRow(session, row_seq, body) for row_seq, body in rows]

    def live_orders(self) -> Iterator[OrderRow]:
        """Every order that still can change."""
        for found in self._reader.execute(_LIVE_ORDERS):
            yield order_row(found)

    def sessions(self) -> list[tuple[str, int, int]]:
        """(session, last_seq, acked_seq) of all."""
        return list(self._reader.execute("select session, last_seq, acked_seq from sessions"))

    def prices(self) -> dict[str, BasePrice]:
        """The remembered base prices."""
        rows = self._reader.execute("select symbol, px_micros, anchored_at_us from prices")
        return {symbol: BasePrice(px_micros, at_us) for symbol, px_micros, at_us in rows}

    def fact(self, name: str) -> str | None:
        """A remembered setting."""
        found = self._reader.execute("select value from facts where name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def tapes(self) -> list[TapeRow]:
        """Every loaded tape, oldest first."""
        rows = self._reader.execute(
            "select symbol, run, digest, content, loaded_at, waits_for_replace from tapes order by rowid"
        )
        return [
            TapeRow(symbol, run, digest, content, loaded_at, bool(waits))
            for symbol, run, digest, content, loaded_at, waits in rows
        ]

    def taken_tape_orders(self) -> dict[TapeKey, str]:
        """Which tape orders have been taken, and by which order."""
        rows = self._reader.execute(
            "select tape_symbol, tape_run, tape_id, cl_ord_id from orders "
            # a replacement of a tape order has its tape, but did not take it
            "where tape_id is not null and json_extract(cast(terms as text), '$.replaces') is null"
        )
        return {(symbol, run, tape_id): cl_ord_id for symbol, run, tape_id, cl_ord_id in rows}

    def count_orders_by_status(self) -> dict[str, int]:
        """How many orders there are in each status; reads every order, so only at the start."""
        rows = self._reader.execute("select ord_status, count(*) from orders group by ord_status order by ord_status")
        return dict(rows.fetchall())


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=5.0
    )  # seconds for a lock: the reader holds it for one page
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute(f"pragma cache_size = -{CACHE_KIB}")
    return connection
