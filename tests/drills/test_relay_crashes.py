"""`kill -9` of the relay's process at its named points: nothing lost, in order, copies under the same event id."""

import asyncio
import os
import signal
import sys
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from cell.outbox.relay import AFTER_CLAIM, AFTER_PRODUCE
from infra.runtime.envelope import decode_envelope
from infra.runtime.kafka_admin import ensure_topics
from infra.runtime.kafka_consumer import Record, TopicReader
from infra.runtime.settings import KafkaSettings
from infra.topology.topics import cell_topics
from tests.support.cell_books import CellBooks
from tests.support.databases import TestDatabase
from tests.support.eventually import PATIENCE_S, eventually
from tests.support.free_port import free_port
from tests.support.kafka_broker import KafkaBroker
from tests.support.killable_postgres import KillablePostgres
from tests.support.recounted_rollups import recounted, stored
from tests.support.windows import Windows

pytestmark = pytest.mark.anyio

CELL = "cell-7"
WRITTEN = "select sum(entry_seq + order_event_seq) from brokerage.users"


@asynccontextmanager
async def relay_process(environment: dict[str, str], fault_points: str = "") -> AsyncIterator[Process]:
    """`python -m cell relay`, ended by a signal at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cell",
        "relay",
        env=os.environ | {"CELL_OPERATOR__PORT": str(free_port())} | environment | {"FAULT_POINTS": fault_points},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()


async def read_all(settings: KafkaSettings) -> list[Record]:
    topics = list(cell_topics(settings.topic_prefix, CELL))
    async with TopicReader(settings, topics) as reader:
        return [record async for batch in reader.read_to_end() for record in batch]


async def relay_environment(broker: KafkaBroker, database: TestDatabase, keys_dir: Path) -> dict[str, str]:
    """Topics of a test's own, and how a relay finds them."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    topics = list(cell_topics(prefix, CELL))
    await ensure_topics(broker.bootstrap_servers, topics, partitions=8, timeout_s=PATIENCE_S)
    return {
        "CELL_NAME": CELL,
        "CELL_POSTGRES__DSN": database.service_dsn,
        "CELL_KEYS_DIR": str(keys_dir),
        "CELL_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "CELL_KAFKA__TOPIC_PREFIX": prefix,
    }


async def drained(database: TestDatabase) -> None:
    """Until the outbox is empty, through whatever happens to the server meanwhile."""

    async def is_empty() -> bool:
        async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
            return await count(connection, "select count(*) from brokerage.outbox") == 0

    await eventually(is_empty)


async def prove_published(environment: dict[str, str], written: int, *, copies: bool) -> None:
    """Every event is there under its one id, in order, and copies came only where they must."""
    settings = KafkaSettings(
        bootstrap_servers=environment["CELL_KAFKA__BOOTSTRAP_SERVERS"],
        topic_prefix=environment["CELL_KAFKA__TOPIC_PREFIX"],
    )
    records = await read_all(settings)
    events = [decode_envelope(record.value) for record in records]
    assert len({event.event_id for event in events}) == written
    assert (len(events) > written) == copies
    assert_first_copies_in_order(records)


@pytest.mark.parametrize(("point", "copies"), [(AFTER_CLAIM, False), (AFTER_PRODUCE, True)])
async def test_killed_relay_loses_nothing(
    point: str, copies: bool, cell_database: TestDatabase, kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    environment = await relay_environment(kafka_broker, cell_database, tmp_path)
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection, seed=12)
        await books.open_users(20)
        await books.play(100)
        async with relay_process(environment, f"{point}=kill") as process, asyncio.timeout(PATIENCE_S):
            assert await process.wait() == -signal.SIGKILL
        written = await count(connection, WRITTEN)
        assert await count(connection, "select count(*) from brokerage.outbox") > 0, (
            "nothing may be deleted before its report"
        )
        async with relay_process(environment):
            await drained(cell_database)
        assert await stored(connection) == await recounted(connection), "published twice, counted once"
    await prove_published(environment, written, copies=copies)


async def test_postgres_killed_between_produce_and_mark_loses_nothing(
    mortal_database: TestDatabase, mortal_postgres: KillablePostgres, kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    environment = await relay_environment(kafka_broker, mortal_database, tmp_path)
    windows = Windows(tmp_path, [AFTER_PRODUCE], "stall:1.0")
    async with await psycopg.AsyncConnection.connect(mortal_database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection, seed=12)
        await books.open_users(20)
        await books.play(40)
        written = await count(connection, WRITTEN)
    windows.open(AFTER_PRODUCE)
    async with relay_process(environment, windows.fault_points) as process:
        await windows.met(AFTER_PRODUCE)
        await asyncio.to_thread(mortal_postgres.kill_and_start)
        await drained(mortal_database)
        assert process.returncode is None, "the relay outlives its database"
    async with await psycopg.AsyncConnection.connect(mortal_database.service_dsn, autocommit=True) as connection:
        assert await stored(connection) == await recounted(connection), "a deletion that was lost counts for nothing"
    await prove_published(environment, written, copies=True)


async def test_an_asked_for_end_does_not_wait_for_an_absent_broker(cell_database: TestDatabase, tmp_path: Path) -> None:
    """The supervisor's patience is limited; what is unconfirmed stays in the outbox."""
    operator_port = free_port()
    environment = {
        "CELL_NAME": CELL,
        "CELL_POSTGRES__DSN": cell_database.service_dsn,
        "CELL_KEYS_DIR": str(tmp_path),
        "CELL_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "CELL_OPERATOR__PORT": str(operator_port),
    }

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", operator_port)
        except OSError:
            return False
        writer.close()
        return True

    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        await CellBooks(connection, seed=14).open_users(5)
        before = await count(connection, "select count(*) from brokerage.outbox")
        async with relay_process(environment) as process:
            await eventually(listens)
            await asyncio.sleep(1.0)  # nothing happens: it has claimed, and waits for Kafka
            assert process.returncode is None, "an absent broker is no reason to end"
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(12.0):
                assert await process.wait() == 0
        assert await count(connection, "select count(*) from brokerage.outbox") == before


async def count(connection: psycopg.AsyncConnection[tuple[object, ...]], query: str) -> int:
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(str(row[0]))


def assert_first_copies_in_order(records: list[Record]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for record in sorted(records, key=lambda record: (record.topic, record.partition, record.offset)):
        event = decode_envelope(record.value)
        last = seen.get((event.user_id, event.stream), 0)
        assert event.seq <= last + 1, "a number is skipped before its first copy came"
        seen[event.user_id, event.stream] = max(last, event.seq)
