"""Reconciling a cell with a real broker: outbox rows that vanished are missed by name, whatever was published twice."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psycopg
import pytest

from cell.leadership import Task, leading, start_term
from cell.outbox.batch import prepare
from cell.outbox.claim import claim_batch
from cell.outbox.prune import delete_published
from cell.reconciliation.queries import list_event_heads
from infra.runtime.database import Pool, make_pool
from infra.runtime.kafka_admin import ensure_topics
from infra.runtime.kafka_producer import KafkaProducer
from infra.runtime.settings import KafkaSettings, PostgresSettings
from infra.topology.topics import cell_topics
from shardctl.events.published import EventComparison, Head, Heads
from shardctl.events.reading import compare_published
from tests.support.cell_books import CellBooks
from tests.support.databases import TestDatabase
from tests.support.eventually import PATIENCE_S
from tests.support.kafka_broker import KafkaBroker

pytestmark = pytest.mark.anyio

CELL = "cell-1"


@dataclass(frozen=True)
class Plane:
    """A cell's database with something to publish, and its topics."""

    pool: Pool
    kafka: KafkaSettings

    async def publish(self, *, twice: int = 0, rows: int = 1_000) -> None:
        """As the relay does: the oldest rows; the first messages once more."""
        async with (
            self.pool.connection() as connection,
            self.pool.connection() as lead,
            leading(lead, Task.RELAY) as leads,
            KafkaProducer(self.kafka, "test") as producer,
        ):
            assert leads
            claimed = await claim_batch(connection, rows)
            messages = prepare(claimed, cell=CELL, topic_prefix=self.kafka.topic_prefix).messages
            assert await producer.send_batch(messages) == []
            assert await producer.send_batch(messages[:twice]) == []
            term = await start_term(connection, Task.RELAY, lead)
            await delete_published(connection, claimed, term=term)

    async def heads(self) -> Heads:
        rows = await list_event_heads(self.pool, after=None, limit=1_000)
        return {
            row["user_id"].bytes: Head(
                row["orders_published"],
                row["ledger_published"],
                row["published_chain_head"] or "",
                row["order_event_seq"],
                row["entry_seq"],
            )
            for row in rows
        }

    async def compared(self) -> EventComparison:
        return await compare_published(self.kafka, CELL, self.heads)


@pytest.fixture
async def plane(cell_database: TestDatabase, kafka_broker: KafkaBroker) -> AsyncIterator[Plane]:
    kafka = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")
    topics = list(cell_topics(kafka.topic_prefix, CELL))
    await ensure_topics(kafka.bootstrap_servers, topics, partitions=4, timeout_s=PATIENCE_S)
    async with make_pool(PostgresSettings(dsn=cell_database.service_dsn), "test") as pool:
        async with pool.connection() as connection:
            books = CellBooks(connection, seed=13)
            await books.open_users(10)
            await books.play(60)
        yield Plane(pool, kafka)


async def test_five_rows_vanished_and_ten_events_sent_twice(plane: Plane, cell_database: TestDatabase) -> None:
    """One from the middle of a user's stream, the last of others: by number there is more than enough."""
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
        vanished = root.execute(
            "delete from brokerage.outbox where id in ("
            " select max(id) from brokerage.outbox group by user_id order by 1 limit 4) or id = ("
            " select min(id) + 1 from brokerage.outbox)"
            " returning (order_event_seq is not null)::integer + (entry_seq is not null)::integer"
        ).fetchall()
    assert len(vanished) in (4, 5)
    while (await plane.heads()) and await _waiting(plane):
        await plane.publish(twice=10)
    found = await plane.compared()
    assert found.duplicates >= 10
    assert found.missing == sum(events for (events,) in vanished)
    assert not found.is_whole
    assert (found.unknown, found.broken_links, found.malformed) == (0, 0, 0)


async def test_what_waits_is_not_missed_and_the_published_chain_ends_where_the_cell_says(plane: Plane) -> None:
    assert (await plane.compared()).is_whole, "nothing was published, and nothing is claimed to be"
    await plane.publish(rows=70, twice=10)
    assert await _waiting(plane)
    found = await plane.compared()
    assert found.is_whole
    assert found.ledger_events > 10
    while await _waiting(plane):
        await plane.publish()
    assert (await plane.compared()).is_whole


async def test_a_chain_that_was_written_anew_is_not_the_published_one(
    plane: Plane, cell_database: TestDatabase
) -> None:
    while await _waiting(plane):
        await plane.publish()
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as root:
        root.execute(
            "update brokerage.users set chain_head = sha256(chain_head)"
            " where user_id = (select min(user_id::text)::uuid from brokerage.users)"
        )
    assert (await plane.compared()).broken_links == 1


async def _waiting(plane: Plane) -> bool:
    async with plane.pool.connection() as connection:
        row = await (await connection.execute("select exists (select from brokerage.outbox)")).fetchone()
    return bool(row and row[0])
