"""The relay against a real database and a real broker: everything, once, in order per user; one relay at a time."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cell.outbox.metrics import RELAY_METRICS
from cell.outbox.relay import Relay
from cell.settings import CellSettings
from infra.runtime.envelope import Envelope, decode_envelope, partition_key
from infra.runtime.kafka_admin import ensure_topics
from infra.runtime.kafka_consumer import Record, TopicReader
from infra.runtime.kafka_producer import KafkaProducer
from infra.runtime.settings import KafkaSettings, PostgresSettings
from infra.runtime.shutdown import Shutdown
from infra.runtime.telemetry import Metrics
from infra.topology.topics import cell_topics
from tests.support.cell_books import MICROS, CellBooks, now
from tests.support.databases import TestDatabase
from tests.support.eventually import PATIENCE_S, eventually
from tests.support.kafka_broker import KafkaBroker
from tests.support.moved_metrics import assert_moved
from tests.support.recounted_rollups import recounted, stored

pytestmark = pytest.mark.anyio

CELL = "cell-1"


@dataclass(frozen=True)
class Plane:
    """One cell database and the topics of its cell, with a prefix of their own."""

    settings: CellSettings
    connection: psycopg.AsyncConnection[Any]

    @property
    def topics(self) -> list[str]:
        prefix = self.settings.kafka.topic_prefix
        return list(cell_topics(prefix, CELL))

    async def number(self, query: str) -> int:
        row = await (await self.connection.execute(query)).fetchone()
        assert row is not None
        return int(row[0])

    async def pending(self) -> int:
        return await self.number("select count(*) from brokerage.outbox")

    async def drained(self) -> None:
        async def empty() -> bool:
            return await self.pending() == 0

        await eventually(empty)

    async def records(self) -> list[Record]:
        async with TopicReader(self.settings.kafka, self.topics) as reader:
            return [record async for batch in reader.read_to_end() for record in batch]


@dataclass(frozen=True)
class RunningRelay:
    relay: Relay
    metrics: Metrics
    shutdown: Shutdown

    async def active(self) -> None:
        async def holds_the_lock() -> bool:
            return (await self.relay.ready())[1]["role"] == "active"

        await eventually(holds_the_lock)

    async def says(self, what: str) -> bool:
        return bool((await self.relay.ready())[1].get(what))


@asynccontextmanager
async def relaying(settings: CellSettings) -> AsyncIterator[RunningRelay]:
    metrics, shutdown = Metrics(RELAY_METRICS), Shutdown()
    async with KafkaProducer(settings.kafka, "test-relay") as producer:
        relay = Relay(settings, producer=producer, metrics=metrics, shutdown=shutdown)
        task = asyncio.create_task(relay.run())
        try:
            yield RunningRelay(relay, metrics, shutdown)
        finally:
            shutdown.ask()
            await task


@pytest.fixture
async def plane(cell_database: TestDatabase, kafka_broker: KafkaBroker, tmp_path: Path) -> AsyncIterator[Plane]:
    settings = CellSettings(
        name=CELL,
        postgres=PostgresSettings(dsn=cell_database.service_dsn),
        keys_dir=tmp_path,
        kafka=KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}."),
    )
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        found = Plane(settings, connection)
        await ensure_topics(kafka_broker.bootstrap_servers, found.topics, partitions=8, timeout_s=PATIENCE_S)
        yield found


def in_order(records: list[Record]) -> dict[tuple[str, str], list[int]]:
    """Sequence numbers per user and stream, in the order of their partition."""
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.topic, record.partition, record.offset)):
        event = decode_envelope(record.value)
        numbers[event.user_id, event.stream].append(event.seq)
    return numbers


def first_copies(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


def assert_complete(records: list[Record]) -> None:
    """Per user and stream: 1, 2, 3 ... if second copies are passed over."""
    for place, numbers in in_order(records).items():
        assert first_copies(numbers) == list(range(1, max(numbers) + 1)), place


async def test_everything_is_published_once_in_order(plane: Plane) -> None:
    books = CellBooks(plane.connection, seed=3)
    await books.open_users(30)
    async with relaying(plane.settings) as running:
        await books.play(300)
        await plane.drained()
        is_ready, facts = await running.relay.ready()
        assert_moved(running.metrics.render(), "cell_outbox_active")
    records = await plane.records()
    events = [decode_envelope(record.value) for record in records]
    assert is_ready, facts
    assert len({event.event_id for event in events}) == len(events), "nothing failed, so nothing was sent twice"
    by_stream = {stream: sum(event.stream == stream for event in events) for stream in ("orders", "ledger")}
    assert by_stream["orders"] == await plane.number("select count(*) from brokerage.order_events")
    assert by_stream["ledger"] == await plane.number("select count(*) from brokerage.journal_entries")
    assert_complete(records)
    assert f'published_events_total{{cell="cell-1",stream="orders"}} {by_stream["orders"]}' in (
        running.metrics.render().decode()
    )
    assert_moved(running.metrics.render(), "cell_outbox_published_events_total", "cell_outbox_batch_seconds")
    assert await stored(plane.connection) == await recounted(plane.connection)


async def test_a_user_stays_in_one_partition_and_is_the_key(plane: Plane) -> None:
    books = CellBooks(plane.connection, seed=4)
    await books.open_users(20)
    async with relaying(plane.settings):
        await plane.drained()
    partitions: dict[str, set[int]] = defaultdict(set)
    for record in await plane.records():
        event = decode_envelope(record.value)
        assert record.key == partition_key(event.user_id)
        partitions[event.user_id].add(record.partition)
    assert len(partitions) == 20
    assert all(len(numbers) == 1 for numbers in partitions.values())
    assert len({min(numbers) for numbers in partitions.values()}) > 1


async def test_an_event_tells_the_order_and_the_money(plane: Plane) -> None:
    books = CellBooks(plane.connection, seed=5)
    await books.open_users(1, cash=1_000 * MICROS)
    order = books.random_order(books.users[0])
    order.side, order.symbol, order.leaves, order.limit_px = "buy", "GME", 2_500_000, 24 * MICROS
    await books.place([order])
    await books.route()
    await books.tell([books.fill(order, 1_000_000, 23_990_000)])
    async with relaying(plane.settings):
        await plane.drained()
    events = [decode_envelope(record.value) for record in await plane.records()]
    fill = the_only(event for event in events if event.type == "order.partially_filled")
    assert fill.data["qty"] == "2.500000"
    assert fill.data["limit_price"] == "24.000000"
    assert (fill.data["from"], fill.data["to"], fill.data["reason"]) == ("routed", "partially_filled", "fill")
    assert (fill.data["last_qty"], fill.data["last_px"]) == ("1.000000", "23.990000")
    assert (fill.data["cum_qty"], fill.data["cum_cost"]) == ("1.000000", "23.990000")
    assert fill.data["order_id"] == str(order.order_id)
    entry = the_only(event for event in events if event.type == "ledger.fill")
    assert {
        (line["account"], line["unit"], line.get("debit"), line.get("credit")) for line in entry.data["postings"]
    } == {
        ("cash_held", "USD", "24.000000", None),
        ("cash", "USD", None, "0.010000"),
        ("clearing", "USD", None, "23.990000"),
        ("shares", "GME", None, "1.000000"),
        ("clearing", "GME", "1.000000", None),
    }
    assert entry.write_seq == fill.write_seq, "told by one write"


def the_only(events: Any) -> Envelope:
    found: list[Envelope] = list(events)
    assert len(found) == 1
    return found[0]


async def test_a_late_commit_with_a_lower_id_is_not_skipped(plane: Plane, cell_database: TestDatabase) -> None:
    """The sequence trap: a cursor by id would have passed over the row that commits last."""
    books = CellBooks(plane.connection, seed=6)
    await books.open_users(2)
    slow, quick = books.users
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn) as other:
        # Takes its outbox id now and commits after the others.
        late = CellBooks(other, seed=61, users=[slow])
        await late.deposit([slow], 5 * MICROS)
        async with relaying(plane.settings) as running:
            await running.active()
            await books.deposit([quick], 7 * MICROS)
            await plane.drained()
            await other.commit()
            await plane.drained()
            assert await plane.pending() == 0
    records = await plane.records()
    assert_complete(records)
    assert len(records) == await plane.number("select sum(entry_seq) from brokerage.users")


async def test_a_second_relay_waits_and_takes_over(plane: Plane) -> None:
    books = CellBooks(plane.connection, seed=8)
    await books.open_users(5)
    async with relaying(plane.settings) as first:
        await first.active()
        async with relaying(plane.settings) as second:
            await plane.drained()
            await asyncio.sleep(1.2)  # nothing happens: it has asked for the lock at least once more
            assert (await second.relay.ready())[1]["role"] == "standby"
            first.shutdown.ask()
            await second.active()
            await books.deposit(books.users, 9 * MICROS)
            await plane.drained()
    records = await plane.records()
    assert_complete(records)
    assert len({decode_envelope(record.value).event_id for record in records}) == len(records)
    assert await stored(plane.connection) == await recounted(plane.connection)


async def test_without_its_topics_a_relay_is_not_ready_and_loses_nothing(plane: Plane, tmp_path: Path) -> None:
    kafka = plane.settings.kafka.model_copy(update={"topic_prefix": f"none{uuid.uuid4().hex[:6]}."})
    late = Plane(plane.settings.model_copy(update={"kafka": kafka}), plane.connection)
    books = CellBooks(plane.connection, seed=9)
    await books.open_users(3)
    expected = await plane.pending()
    async with relaying(late.settings) as running:
        await eventually(lambda: running.says("missing_topics"))
        is_ready, facts = await running.relay.ready()
        assert (is_ready, facts["missing_topics"]) == (False, late.topics)
        assert await plane.pending() == expected
        await ensure_topics(kafka.bootstrap_servers, late.topics, partitions=8, timeout_s=PATIENCE_S)
        await late.drained()
    records = await late.records()
    assert_complete(records)
    assert len(records) == expected


async def test_kafka_away_for_a_while_is_waited_for(plane: Plane, kafka_broker: KafkaBroker) -> None:
    """Killed in the middle of trading; orders go on, nothing is lost, the relay needs no restart."""
    books = CellBooks(plane.connection, seed=10)
    await books.open_users(20)
    async with relaying(plane.settings) as running:
        await plane.drained()
        kafka_broker.kill()
        try:
            await books.play(100)
            await asyncio.sleep(1.0)  # nothing happens: the relay has claimed, and cannot publish
            waiting = await plane.pending()
            assert waiting > 0
        finally:
            kafka_broker.start()
        await kafka_broker.answers()
        began = now()
        await plane.drained()
        assert (now() - began).total_seconds() < PATIENCE_S
        await running.active()
    records = await plane.records()
    assert_complete(records)
    assert len({decode_envelope(record.value).event_id for record in records}) == await plane.number(
        "select sum(entry_seq + order_event_seq) from brokerage.users"
    )


async def test_a_lost_database_session_is_replaced(plane: Plane, cell_database: TestDatabase) -> None:
    books = CellBooks(plane.connection, seed=13)
    await books.open_users(10)
    async with (
        relaying(plane.settings) as running,
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as superuser,
    ):
        for _ in range(3):
            await running.active()
            await books.play(20)
            await superuser.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name like 'cell-1-relay %' and datname = current_database()"
            )
        await books.play(20)
        await plane.drained()
    records = await plane.records()
    assert_complete(records)
    assert len({decode_envelope(record.value).event_id for record in records}) == await plane.number(
        "select sum(entry_seq + order_event_seq) from brokerage.users"
    )
    assert await stored(plane.connection) == await recounted(plane.connection)


async def test_an_outbox_row_without_its_event_stops_publication_aloud(
    plane: Plane, cell_database: TestDatabase
) -> None:
    books = CellBooks(plane.connection, seed=11)
    await books.open_users(2)
    async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as superuser:
        await superuser.execute(
            "update brokerage.outbox set entry_seq = 99 where id = (select max(id) from brokerage.outbox)"
        )
    before = await plane.pending()
    async with relaying(plane.settings) as running:

        async def is_said() -> bool:
            is_ready, facts = await running.relay.ready()
            moved = b"cell_outbox_pending_rows{" in running.metrics.render()
            return not is_ready and "missing event" in str(facts["trouble"]) and moved

        await eventually(is_said)
    assert await plane.pending() == before, "damaged books are not half published"
    assert_moved(
        running.metrics.render(),
        "cell_outbox_failures_total",
        "cell_outbox_pending_rows",
        "cell_outbox_oldest_age_seconds",
    )
