"""Rollups count what a deletion deleted: once, whatever the relay repeats, loses or does beside another one."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from cell.executions.queries import prune_rollups
from cell.leadership import Task, leading, start_term
from cell.outbox.claim import claim_batch
from cell.outbox.counting import count_rows
from cell.outbox.event_types import OutboxRow
from infra.runtime.clock import SystemClock
from infra.runtime.database import make_pool
from infra.runtime.settings import PostgresSettings
from tests.support.asgi import ask_asgi
from tests.support.cell_books import CellBooks
from tests.support.cell_port import cell_port
from tests.support.databases import TestDatabase
from tests.support.operator_tokens import operator_token
from tests.support.recounted_rollups import recounted, stored

pytestmark = pytest.mark.anyio
Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Leader:
    """Who may delete, on several sessions at once: as two relays that overlap for a moment."""

    sessions: list[Connection]
    term: UUID

    async def delete(self, rows: list[OutboxRow], session: int = 0, *, counts: bool = True) -> int:
        """`counts`: with what the rows told, as the relay does; otherwise the procedure asks the books."""
        query = "select delete_outbox_v1(%s::bigint[], %s, %s::jsonb)"
        told = msgspec.json.encode(count_rows(rows)).decode() if counts else None
        found = await (
            await self.sessions[session].execute(query, [[row.id for row in rows], self.term, told])
        ).fetchone()
        assert found is not None
        return int(found[0])

    async def pending(self, limit: int) -> list[OutboxRow]:
        return await claim_batch(self.sessions[0], limit)


@asynccontextmanager
async def connected(database: TestDatabase) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        await connection.execute("set time zone 'UTC'")
        yield connection


@asynccontextmanager
async def leader_of(database: TestDatabase) -> AsyncIterator[Leader]:
    async with (
        connected(database) as lead,
        connected(database) as one,
        connected(database) as other,
        leading(lead, Task.RELAY) as leads,
    ):
        assert leads
        yield Leader([one, other], await start_term(one, Task.RELAY, lead))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_sums_are_those_of_the_events_whatever_the_relay_repeats(cell_database: TestDatabase, seed: int) -> None:
    chance = random.Random(seed)
    async with connected(cell_database) as connection, leader_of(cell_database) as leader:
        books = CellBooks(connection, seed=seed)
        await books.open_users(24)
        for _ in range(3):
            await books.play(48)
            await books.deposit(books.users[:5], chance.randrange(1, 10**9))
            while claimed := await leader.pending(chance.choice([1, 7, 60, 300])):
                fate = chance.choice(["plain", "killed before", "rolled back", "repeated", "both", "overlap", "some"])
                counts = chance.random() < 0.7
                if fate == "killed before":  # published, and never deleted: the next round names them again
                    continue
                if fate == "rolled back":  # a deletion that had not reached the disk
                    async with leader.sessions[0].transaction(force_rollback=True):
                        await leader.delete(claimed, counts=counts)
                elif fate == "both":
                    deleted = await asyncio.gather(leader.delete(claimed, 0), leader.delete(claimed, 1, counts=counts))
                    assert sum(deleted) == len(claimed)
                elif fate == "overlap":  # what the caller counted is more than what is left to delete
                    first = await leader.delete(claimed[: len(claimed) // 2])
                    assert first + await leader.delete(claimed, 1) == len(claimed)
                elif fate == "some":  # an event was refused: what its user wrote later stays, whoever names it
                    await leader.delete([row for row in claimed if chance.random() < 0.7], counts=counts)
                else:
                    await leader.delete(claimed, counts=counts)
                if fate == "repeated":
                    assert await leader.delete(claimed, counts=counts) == 0
                assert await stored(connection) == await recounted(connection)
        by_symbol, cash = await stored(connection)
        assert all(sum(figures[index] for figures in by_symbol.values()) for index in range(5))
        assert cash


async def test_a_minute_that_is_over_keeps_its_busiest_symbols_and_its_sums(cell_database: TestDatabase) -> None:
    async with (
        connected(cell_database) as connection,
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as root,
        make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test", size=2) as pool,
    ):
        await root.execute(
            """insert into brokerage.rollups (minute, orders, fills, volume_exact)
               select date_bin('1 minute', now(), 'epoch') - a * interval '1 minute', 55, 110, 165
                 from unnest(array[0, 20, 60 * 24 * 9]) a"""
        )
        await root.execute(
            """insert into brokerage.symbol_rollups
               select minute, 'S' || n, n, 2 * n, 0, 0, 1, 3 * n from brokerage.rollups, generate_series(1, 10) n"""
        )
        now = SystemClock().now()
        assert await prune_rollups(pool, now - timedelta(days=8), symbols=3, minutes=100) == 2
        rows = await (
            await connection.execute(
                "select (now() - minute) > interval '5 minutes', symbol, orders from brokerage.symbol_rollups "
                "order by minute, orders desc, symbol"
            )
        ).fetchall()
        assert rows[:4] == [(True, "*", 28), (True, "S10", 10), (True, "S9", 9), (True, "S8", 8)]
        assert len(rows) == 14
        await stored(connection)  # the sums of minutes and symbols
        assert await prune_rollups(pool, now - timedelta(days=8), symbols=3, minutes=100) == 0
        await prune_rollups(pool, now + timedelta(days=1), symbols=3, minutes=100)
        ((left,),) = await (await connection.execute("select count(*) from brokerage.rollups")).fetchall()
        assert left == 2, "the last day stays, whatever the caller says"


async def test_a_symbol_that_comes_late_is_folded_again(cell_database: TestDatabase) -> None:
    """The relay was behind: the minute had been folded, and its rows come now."""
    async with (
        connected(cell_database) as connection,
        leader_of(cell_database) as leader,
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as root,
        make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test", size=2) as pool,
    ):
        books = CellBooks(connection)
        await books.open_users(8)
        await books.play(16)
        await root.execute("update brokerage.order_events set at = at - interval '1 hour'")
        before = SystemClock().now() - timedelta(days=8)
        while claimed := await leader.pending(20):
            await leader.delete(claimed)
            await prune_rollups(pool, before, symbols=1, minutes=100)
        by_symbol, _ = await stored(connection)
        again, _ = await recounted(connection)
        minutes = {minute for minute, _ in by_symbol}
        assert {(m, sum(f[0] for (a, _), f in by_symbol.items() if a == m)) for m in minutes} == {
            (m, sum(f[0] for (a, _), f in again.items() if a == m)) for m in minutes
        }
        assert len(by_symbol) <= 2 * len(minutes)


async def test_the_service_cannot_count_by_itself(cell_database: TestDatabase) -> None:
    async with connected(cell_database) as connection, leader_of(cell_database) as leader:
        books = CellBooks(connection)
        await books.open_users(1)
        assert await leader.pending(1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(
                "select add_to_rollups_v1(count_events_v1(array_agg(user_id), array_agg(order_id), "
                "array_agg(order_event_seq), array_agg(entry_seq))) from brokerage.outbox"
            )


async def test_operators_read_minutes_and_the_busiest_symbols(cell_database: TestDatabase, tmp_path: Path) -> None:
    async with cell_port(cell_database, tmp_path) as port, connected(cell_database) as connection:
        books = CellBooks(connection)
        await books.open_users(16)
        await books.play(64)
        token = operator_token(tmp_path, "viewer")

        async def ask(query: str = "") -> tuple[int, Any]:
            headers = {"authorization": f"Bearer {token}"}
            status, _, body = await ask_asgi(port.app.operator, "GET", f"/operator/v1/rollups{query}", headers=headers)
            return status, body

        status, nothing = await ask()
        assert (status, nothing["minutes"], nothing["symbols"]) == (200, [], [])
        assert nothing["pending_since"] is not None
        async with leader_of(cell_database) as leader:
            while claimed := await leader.pending(500):
                await leader.delete(claimed)
        status, found = await ask("?minutes=5&symbols=2")
        by_symbol, cash = await recounted(connection)
        assert (status, found["pending_since"], len(found["symbols"])) == (200, None, 2)
        assert sum(row["orders"] for row in found["minutes"]) == sum(figures[0] for figures in by_symbol.values())
        volume = sum(figures[4] for figures in by_symbol.values())
        shown = sum(int(row["volume"].replace(".", "")) for row in found["minutes"])
        assert abs(shown - volume / 10**6) <= len(found["minutes"])
        assert sum(int(row["cash_in"].replace(".", "")) for row in found["minutes"]) == sum(c for c, _ in cash.values())
        busiest = [row["orders"] + row["fills"] for row in found["symbols"]]
        assert busiest == sorted(busiest, reverse=True)
        status, past = await ask("?minutes=1440&until=2026-01-05T14:30:59%2B00:00")
        assert (status, past["minutes"], past["ends"]) == (200, [], "2026-01-05T14:31:00.000000Z")
        for refused in ("?minutes=0", "?minutes=1441", "?minutes=x", "?symbols=101", "?until=yesterday"):
            assert (await ask(refused))[0] == 422, refused
