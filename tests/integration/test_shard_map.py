"""The map's truth in a real control database, its ways to a reader, and what a reader refuses."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypedDict

import psycopg
import pytest
from redis.asyncio import Redis

from infra.runtime.clock import SystemClock
from infra.runtime.map_source import ControlMapSource, FileMapSource, MapUnavailable
from infra.runtime.map_watcher import MapWatcher
from infra.runtime.redis_client import make_redis
from infra.runtime.redis_map_source import RedisMapSource
from infra.runtime.settings import RedisSettings
from infra.runtime.telemetry import Metrics
from infra.topology.cells import Cell, CellState
from infra.topology.diff import diff_maps, encode_delta
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap
from infra.topology.snapshot import decode_map, encode_map
from router.metrics import RouterCollector
from shardctl.shardmap.errors import (
    CellExists,
    KeyIdReused,
    NoFreeBuckets,
    OwnershipEpochRefused,
    StaleEpoch,
    UnknownCell,
)
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import ShardMapStore, open_store
from tests.support.databases import TestDatabase
from tests.support.eventually import PATIENCE_S, eventually
from tests.support.moved_metrics import assert_moved
from tests.support.redis_server import redis_server
from tests.support.routers import map_of

pytestmark = pytest.mark.anyio
CHANGES = 60


class Who(TypedDict):
    actor: str
    reason: str


WHO: Who = {"actor": "ann", "reason": "a test"}
URLS = {"cell-1": ("http://127.0.0.1:1",), "cell-2": ("http://127.0.0.1:2",)}


@pytest.fixture
async def store(control_database: TestDatabase) -> AsyncIterator[ShardMapStore]:
    async with open_store(control_database.owner_dsn) as opened:
        await opened.create_lineage()
        yield opened


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


def cell(name: str, **changes: object) -> Cell:
    return Cell(CellId(name), **{"api_urls": ("http://127.0.0.1:1",), **changes})  # type: ignore[arg-type]


async def test_cells_get_lots_that_nobody_uses_and_nothing_moves(store: ShardMapStore) -> None:
    await store.add_cell(cell("cell-1"), **WHO)
    before = await store.add_cell(cell("cell-2"), **WHO)
    after = await store.add_cell(cell("cell-3"), lot=300, **WHO)
    assert after.bucket_counts() == {"cell-1": 1024, "cell-2": 1024, "cell-3": 300}
    assert after.epoch == before.epoch + 1 == 4
    for bucket in range(65_536):
        owner = before.bucket_owner(bucket)  # type: ignore[arg-type]
        assert owner is None or after.bucket_owner(bucket) == owner  # type: ignore[arg-type]


async def test_lineage_is_made_once(store: ShardMapStore) -> None:
    assert await store.create_lineage() == await store.create_lineage() == (await store.load()).lineage


async def test_history_says_who_when_and_why(store: ShardMapStore) -> None:
    await store.add_cell(cell("cell-1"), actor="ann", reason="more room")
    await store.update_cell(cell("cell-1", state=CellState.CORDONED), actor="bob", reason="disk is slow")
    newest, older, oldest = await store.history(10)
    assert (newest.epoch, newest.actor, newest.reason) == (3, "bob", "disk is slow")
    assert (newest.change["from"]["state"], newest.change["to"]["state"]) == ("open", "cordoned")
    assert (older.epoch, older.change["cell"], oldest.change["kind"]) == (2, "cell-1", "lineage_created")
    assert newest.made_at >= older.made_at


async def test_a_change_that_says_nothing_new_makes_no_epoch(store: ShardMapStore) -> None:
    shard_map = await store.add_cell(cell("cell-1"), **WHO)
    assert (await store.update_cell(cell("cell-1"), **WHO)).epoch == shard_map.epoch


async def test_refusals_change_nothing(store: ShardMapStore) -> None:
    shard_map = await store.add_cell(cell("cell-1"), **WHO)
    with pytest.raises(CellExists):
        await store.add_cell(cell("cell-1"), **WHO)
    with pytest.raises(NoFreeBuckets):
        await store.add_cell(cell("cell-2"), lot=65_000, **WHO)
    with pytest.raises(UnknownCell):
        await store.update_cell(cell("cell-9"), **WHO)
    with pytest.raises(UnknownCell):
        await store.set_pins({uuid.uuid4(): "cell-9"}, **WHO)
    assert (await store.load()).epoch == shard_map.epoch
    assert len(await store.history(10)) == shard_map.epoch


async def test_of_two_writers_with_the_same_map_one_wins(store: ShardMapStore, control_database: TestDatabase) -> None:
    seen = await store.add_cell(cell("cell-1"), **WHO)

    async def pin() -> bool:
        async with open_store(control_database.owner_dsn) as other:
            try:
                await other.set_pins({uuid.uuid4(): "cell-1"}, expected=seen, **WHO)
            except StaleEpoch:
                return False
            return True

    assert sorted(await asyncio.gather(*(pin() for _ in range(6)))) == [False] * 5 + [True]
    assert (await store.load()).epoch == seen.epoch + 1


async def test_pins_override_buckets_until_taken_away(store: ShardMapStore) -> None:
    await store.add_cell(cell("cell-1"), **WHO)
    await store.add_cell(cell("cell-2"), **WHO)
    users = [uuid.uuid4() for _ in range(100)] + [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
    pinned = await store.set_pins({user: "cell-2" for user in users}, **WHO)
    assert {pinned.locate(user) for user in users} == {pinned.cell("cell-2")}
    await store.set_pins({user: "cell-1" for user in users[:50]}, **WHO)
    freed = await store.set_pins({user: None for user in users[50:]}, **WHO)
    assert freed.pin_count == 50
    assert {freed.locate(user) for user in users[:50]} == {freed.cell("cell-1")}


async def test_the_routers_role_may_read_the_map_and_claim_and_nothing_else(
    store: ShardMapStore, control_database: TestDatabase
) -> None:
    await store.add_cell(cell("cell-1"), **WHO)
    async with await psycopg.AsyncConnection.connect(control_database.service_dsn, autocommit=True) as connection:
        assert await ControlMapSource(control_database.service_dsn).read() is not None
        for statement in (
            "update control.cells set state = 'retired'",
            "insert into control.pins values (gen_random_uuid(), 'cell-1', 2)",
            "select email_hash from control.email_claims",
            "delete from control.email_claims",
            "select set_pins_v1(2, '{}', '{}', 'x', 'x')",
            "select advance_epoch_v1(2, 'x', 'x', '{}')",
            "create table control.mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)
    async with await psycopg.AsyncConnection.connect(control_database.auditor_dsn, autocommit=True) as connection:
        await connection.execute("select user_id, cell_id, state from control.email_claims")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("select email_hash from control.email_claims")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("select create_lineage_v1(gen_random_uuid(), 'x', 'x')")


# ---- readers -----------------------------------------------------------------------------------------------------


class HeardSource(RedisMapSource):
    """Says when its listener listens and has read what there was before."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.listening = asyncio.Event()

    async def listen(self, on_notice: Callable[[bytes], Awaitable[None]]) -> None:
        async def note(message: bytes) -> None:
            await on_notice(message)
            self.listening.set()

        await super().listen(note)


class Readers:
    """A watcher over a file, a Redis and a control database, each of which may be dead."""

    def __init__(
        self,
        folder: Path,
        redis_url: str = "redis://127.0.0.1:1",
        dsn: str = "postgresql://127.0.0.1:1/x",
        *,
        poll_s: float = 0.3,
    ) -> None:
        self.file = FileMapSource(folder / "kept.map")
        self.path = folder / "kept.map"
        self.redis = make_redis(RedisSettings(url=redis_url, timeout_s=0.5))
        self.source = HeardSource(self.redis)
        self._waits: list[tuple[int, asyncio.Event]] = []
        self.watcher = MapWatcher(
            redis_source=self.source,
            control_source=ControlMapSource(dsn, connect_timeout_s=0.5),
            file_source=self.file,
            clock=SystemClock(),
            poll_s=poll_s,
            on_change=self._look,
        )

    async def __aenter__(self) -> "Readers":
        await self.watcher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.watcher.stop()
        await self.redis.aclose()

    async def until_it_listens(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.source.listening.wait()

    async def until_epoch(self, epoch: int, limit_s: float = PATIENCE_S) -> None:
        reached = asyncio.Event()
        self._waits.append((epoch, reached))
        self._look()
        async with asyncio.timeout(limit_s):
            await reached.wait()

    def _look(self, _: ShardMap | None = None) -> None:
        for epoch, reached in self._waits:
            if (self.epoch or 0) >= epoch:
                reached.set()

    @property
    def epoch(self) -> int | None:
        return None if self.watcher.current is None else self.watcher.current.epoch


async def test_a_published_map_is_everywhere_at_once_and_in_the_file(tmp_path: Path, redis_url: str) -> None:
    await publish_map(redis_url, map_of(URLS, epoch=3))
    async with Readers(tmp_path, redis_url, poll_s=600.0) as readers:  # pushed, not polled
        assert readers.epoch == 3
        await readers.until_it_listens()
        await publish_map(redis_url, map_of(URLS, epoch=4))
        await readers.until_epoch(4)

        async def is_kept() -> bool:
            kept = await readers.file.read()
            return kept is not None and kept.epoch == 4

        await eventually(is_kept)


def figures(readers: Readers) -> bytes:
    """`/metrics` of a router that has this watcher."""
    metrics = Metrics(())
    watch = readers.watcher.watch
    metrics.registry.register(RouterCollector(cells=list, refusals={}, watch=watch, readings={}, now=lambda: 1.0))
    return metrics.render()


async def test_an_older_map_is_neither_published_nor_taken(tmp_path: Path, redis_url: str) -> None:
    assert await publish_map(redis_url, map_of(URLS, epoch=7))
    assert not await publish_map(redis_url, map_of(URLS, epoch=6))
    async with Readers(tmp_path, redis_url) as readers:
        await readers.redis.set("shardmap:snapshot", encode_map(map_of(URLS, epoch=5)))
        await readers.watcher.refresh(2)
        assert readers.epoch == 7
        assert readers.watcher.watch.refused["older"] > 0
        assert_moved(figures(readers), "router_map_refused_total")


async def test_another_stacks_map_is_refused(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "kept.map").write_bytes(encode_map(map_of(URLS, epoch=2)))
    await publish_map(redis_url, map_of(URLS, epoch=99, lineage=uuid.uuid4()))
    async with Readers(tmp_path, redis_url) as readers:
        assert readers.epoch == 2
        assert readers.watcher.watch.refused["lineage"] > 0


async def test_a_damaged_snapshot_is_refused_and_the_good_one_kept(tmp_path: Path, redis_url: str) -> None:
    await publish_map(redis_url, map_of(URLS, epoch=3))
    async with Readers(tmp_path, redis_url) as readers:
        damaged = bytearray(encode_map(map_of(URLS, epoch=4)))
        damaged[-7] ^= 1
        await readers.redis.set("shardmap:snapshot", bytes(damaged))
        await readers.watcher.refresh(2)
        assert readers.epoch == 3
        assert readers.watcher.watch.refused["corrupted"] > 0


async def test_the_file_alone_is_enough_to_start(tmp_path: Path) -> None:
    (tmp_path / "kept.map").write_bytes(encode_map(map_of(URLS, epoch=8)))
    async with Readers(tmp_path) as readers:
        assert (readers.epoch, readers.watcher.watch.source) == (8, "file")


async def test_a_damaged_file_is_no_map_and_no_crash(tmp_path: Path) -> None:
    for content in (b"", b"CELLMAP\x01", os.urandom(5000), encode_map(map_of(URLS))[:-1]):
        (tmp_path / "kept.map").write_bytes(content)
        async with Readers(tmp_path) as readers:
            assert readers.epoch is None


async def test_the_newest_of_all_sources_wins_at_start(
    tmp_path: Path, redis_url: str, store: ShardMapStore, control_database: TestDatabase
) -> None:
    older = await store.add_cell(cell("cell-1"), **WHO)
    await publish_map(redis_url, older)
    newest = await store.add_cell(cell("cell-2"), **WHO)
    await FileMapSource(tmp_path / "kept.map").write(older)
    async with Readers(tmp_path, redis_url, control_database.service_dsn) as readers:
        assert (readers.epoch, readers.watcher.watch.source) == (newest.epoch, "control")
        changed = await store.set_pins({uuid.uuid4(): "cell-2"}, **WHO)
        await readers.until_epoch(changed.epoch)  # never published: the poll finds it


async def test_sources_that_agree_are_believed_in_their_order(
    tmp_path: Path, store: ShardMapStore, control_database: TestDatabase
) -> None:
    newest = await store.add_cell(cell("cell-1"), **WHO)
    await FileMapSource(tmp_path / "kept.map").write(newest)
    with redis_server() as redis:
        await publish_map(redis.url, newest)
        async with Readers(tmp_path, redis.url, control_database.service_dsn) as readers:
            assert (readers.epoch, readers.watcher.watch.source) == (newest.epoch, "redis")
        redis.kill()
        async with Readers(tmp_path, redis.url, control_database.service_dsn) as readers:
            assert (readers.epoch, readers.watcher.watch.source) == (newest.epoch, "control")
        async with Readers(tmp_path, redis.url) as readers:
            assert (readers.epoch, readers.watcher.watch.source) == (newest.epoch, "file")


async def test_a_control_database_of_another_lineage_outranks_what_lies_around(
    tmp_path: Path, store: ShardMapStore, control_database: TestDatabase
) -> None:
    (tmp_path / "kept.map").write_bytes(encode_map(map_of(URLS, epoch=500)))
    made = await store.add_cell(cell("cell-1"), **WHO)
    async with Readers(tmp_path, dsn=control_database.service_dsn) as readers:
        assert (readers.epoch, readers.watcher.current and readers.watcher.current.lineage) == (
            made.epoch,
            made.lineage,
        )


async def test_a_reader_outlives_redis_and_hears_again_when_it_is_back(tmp_path: Path) -> None:
    with redis_server() as server:
        await publish_map(server.url, map_of(URLS, epoch=3))
        async with Readers(tmp_path, server.url) as readers:
            server.kill()
            await asyncio.sleep(0.8)  # nothing happens: it has asked in vain twice, every 0.3 s
            assert readers.epoch == 3
            server.start()
            await publish_map(server.url, map_of(URLS, epoch=4))
            await readers.until_epoch(4)


async def test_a_source_that_hangs_does_not_hold_up_the_start(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    (tmp_path / "kept.map").write_bytes(encode_map(map_of(URLS, epoch=8)))
    async with asyncio.timeout(5):
        async with Readers(tmp_path, f"redis://127.0.0.1:{port}", f"postgresql://127.0.0.1:{port}/x") as readers:
            assert readers.epoch == 8
    over.set()
    silent.close()
    await silent.wait_closed()
    await asyncio.sleep(0.05)  # the end of the connections' own tasks, which nothing tells


async def test_a_dead_control_database_says_so() -> None:
    with pytest.raises(MapUnavailable):
        await ControlMapSource("postgresql://127.0.0.1:1/x", connect_timeout_s=0.5).read()


async def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    source = FileMapSource(tmp_path / "deep" / "kept.map")
    assert await source.read() is None
    for epoch in (1, 2, 3):
        await source.write(map_of(URLS, epoch=epoch))
        kept = await source.read()
        assert kept is not None
        assert kept.epoch == epoch
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["kept.map"]


async def test_changes_are_pushed_as_deltas_and_heard_at_once(tmp_path: Path, redis_url: str) -> None:
    """Many moves, one after the other, to three readers; each hears of each by the notice alone."""
    shard_map = map_of(URLS, epoch=1)
    await publish_map(redis_url, shard_map)
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(Readers(tmp_path / str(n), redis_url, poll_s=60.0)) for n in range(3)
        ]
        for reader in readers:
            await reader.until_it_listens()
        pins: dict[uuid.UUID, str] = {}
        for epoch in range(2, CHANGES + 2):
            pins[uuid.uuid4()] = "cell-2"
            newer = map_of(URLS, epoch=epoch, pins=pins.items())
            heard = [asyncio.create_task(reader.until_epoch(epoch)) for reader in readers]
            await asyncio.sleep(0)
            await publish_map(redis_url, newer, previous=shard_map)
            for each in heard:
                await each
            shard_map = newer
        for reader in readers:
            assert reader.watcher.current is not None
            assert encode_map(reader.watcher.current) == encode_map(shard_map)
            assert (reader.watcher.watch.deltas, reader.watcher.watch.gaps) == (CHANGES, 0)


async def test_a_gap_in_the_deltas_is_closed_by_the_snapshot(tmp_path: Path, redis_url: str) -> None:
    users = [uuid.uuid4() for _ in range(3)]
    maps = [map_of(URLS, epoch=n + 1, pins=[(user, "cell-2") for user in users[:n]]) for n in range(4)]
    await publish_map(redis_url, maps[0])
    async with Readers(tmp_path, redis_url, poll_s=60.0) as reader:
        await reader.until_it_listens()
        # The change from 1 to 2 is never heard of: as if the connection had been away for that moment.
        await publish_map(redis_url, maps[2], previous=maps[1])
        await reader.until_epoch(3)
        assert reader.watcher.current is not None
        assert encode_map(reader.watcher.current) == encode_map(maps[2])
        assert (reader.watcher.watch.deltas, reader.watcher.watch.gaps) == (0, 1)
        await publish_map(redis_url, maps[3], previous=maps[2])
        await reader.until_epoch(4)
        assert reader.watcher.watch.deltas == 1
        assert_moved(figures(reader), "router_map_deltas_total", "router_map_gaps_total")


async def test_a_damaged_delta_is_refused_and_the_snapshot_read(tmp_path: Path, redis_url: str) -> None:
    old, new = map_of(URLS, epoch=1), map_of(URLS, epoch=2, pins=[(uuid.uuid4(), "cell-2")])
    await publish_map(redis_url, old)
    async with Readers(tmp_path, redis_url, poll_s=60.0) as reader:
        await reader.until_it_listens()
        delta = diff_maps(old, new)
        assert delta is not None
        document = bytearray(encode_delta(delta))
        document[-1] ^= 1
        await reader.redis.set("shardmap:snapshot", encode_map(new))
        await reader.redis.publish("shardmap:changed", bytes(document))
        await reader.until_epoch(2)
        assert (reader.watcher.watch.refused["corrupted"], reader.watcher.watch.deltas) == (1, 0)


async def test_a_pin_needs_an_ownership_epoch_above_the_users_last(store: ShardMapStore) -> None:
    """Kept when the pin is gone: a flip that comes late does not undo a later one."""
    for name in ("cell-1", "cell-2"):
        await store.add_cell(cell(name), **WHO)
    user = uuid.uuid4()
    early, late = await store.draw_ownership_epoch(), await store.draw_ownership_epoch()
    assert (await store.load()).epoch < early < late
    await store.set_pins({user: "cell-2"}, ownership_epochs={user: late}, **WHO)
    for epoch in (early, late, late + 1):  # earlier, the same one for another cell, one that nobody drew
        with pytest.raises(OwnershipEpochRefused):
            await store.set_pins({user: "cell-1"}, ownership_epochs={user: epoch}, **WHO)
    unpinned = await store.set_pins({user: None}, **WHO)
    with pytest.raises(OwnershipEpochRefused):
        await store.set_pins({user: "cell-1"}, ownership_epochs={user: late}, **WHO)
    assert not (await store.load()).is_pinned(user)
    assert (await store.load()).epoch == unpinned.epoch
    later = await store.draw_ownership_epoch()
    assert later > unpinned.epoch
    pinned = await store.set_pins({user: "cell-1"}, ownership_epochs={user: later}, **WHO)
    assert pinned.is_pinned(user)


@pytest.fixture
async def leaders_store(store: ShardMapStore, control_database: TestDatabase) -> AsyncIterator[ShardMapStore]:
    """As the control service has it, with two cells."""
    for name in ("cell-1", "cell-2"):
        await store.add_cell(cell(name), **WHO)
    async with open_store(control_database.leader_dsn) as opened:
        yield opened


async def test_one_pin_is_compared_by_its_ownership_epoch_and_may_be_repeated(leaders_store: ShardMapStore) -> None:
    """Whoever pins after a move has lost sight of the map meanwhile, and perhaps of the first call's answer."""
    store = leaders_store
    user, other = uuid.uuid4(), uuid.uuid4()
    early, late = await store.draw_ownership_epoch(), await store.draw_ownership_epoch()
    await store.set_pins({other: "cell-1"}, **WHO)  # the map has moved on since the move was planned
    pinned = await store.pin(user, "cell-2", late, **WHO)
    assert [str(owner) for pin, owner in pinned.pins() if pin == user] == ["cell-2"]
    again = await store.pin(user, "cell-2", late, **WHO)
    assert again.epoch == pinned.epoch
    refusals = [
        (user, "cell-1", early, OwnershipEpochRefused),
        (user, "cell-1", late, OwnershipEpochRefused),
        (user, "cell-2", late + 9, OwnershipEpochRefused),
        (other, "cell-9", late, UnknownCell),
    ]
    for whom, where, epoch, refusal in refusals:
        with pytest.raises(refusal):
            await store.pin(whom, where, epoch, **WHO)
    assert (await store.load()).epoch == pinned.epoch
    await store.set_pins({user: None}, **WHO)
    with pytest.raises(OwnershipEpochRefused):  # too late: it was unpinned meanwhile
        await store.pin(user, "cell-2", late, **WHO)


async def test_of_many_pins_those_that_stand_are_left_alone(leaders_store: ShardMapStore) -> None:
    store = leaders_store
    first, second = uuid.uuid4(), uuid.uuid4()
    epochs = {first: await store.draw_ownership_epoch(), second: await store.draw_ownership_epoch()}
    await store.pin(first, "cell-1", epochs[first], **WHO)
    both = await store.set_pins({first: "cell-1", second: "cell-1"}, ownership_epochs=epochs, **WHO)
    assert both.pin_count == 2
    assert (await store.history())[0].change["users"] == [str(second)]


async def test_a_pin_that_stays_keeps_its_ownership_epoch_and_one_that_goes_elsewhere_gets_a_new_one(
    store: ShardMapStore, control_database: TestDatabase
) -> None:
    for name in ("cell-1", "cell-2"):
        await store.add_cell(cell(name), **WHO)
    stays, moves = uuid.uuid4(), uuid.uuid4()

    def since() -> dict[uuid.UUID, int]:
        with psycopg.connect(control_database.owner_dsn) as owner:
            pins: dict[uuid.UUID, int] = dict(
                owner.execute("select user_id, ownership_epoch from control.pins").fetchall()
            )
            last: dict[uuid.UUID, int] = dict(
                owner.execute("select user_id, ownership_epoch from control.last_pins").fetchall()
            )
            assert {user: last[user] for user in pins} == pins
            assert owner.execute("select count(*) from control.buckets where ownership_epoch is null").fetchone() == (
                0,
            )
        return pins

    await store.set_pins({stays: "cell-1", moves: "cell-1"}, **WHO)
    first = since()
    await store.set_pins({stays: "cell-1", moves: "cell-2"}, **WHO)
    second = since()
    assert second[stays] == first[stays]
    assert second[moves] > first[moves]


KEY_1, KEY_2 = ("k-1", "A" * 43), ("k-2", "B" * 42 + "A")


async def test_a_cells_public_keys_are_added_and_never_taken_away(
    leaders_store: ShardMapStore, control_database: TestDatabase
) -> None:
    store = leaders_store
    added = await store.add_cell(cell("cell-3", signing_keys=(KEY_1,)), **WHO)
    known = added.cell("cell-3")
    assert known is not None
    assert known.signing_keys == (KEY_1,)
    assert (await store.update_cell(known, **WHO)).epoch == added.epoch
    rotated = await store.update_cell(cell("cell-3", signing_keys=(KEY_2,)), **WHO)  # those not named stay
    assert rotated.epoch == added.epoch + 1
    assert (await store.history())[0].change["keys_added"] == ["k-2"]
    with pytest.raises(KeyIdReused):
        await store.update_cell(cell("cell-3", signing_keys=(("k-1", KEY_2[1]),)), **WHO)
    as_a_router = await ControlMapSource(control_database.service_dsn).read()
    assert as_a_router is not None
    seen = [each.signing_keys for each in as_a_router.cells]
    assert seen == [(), (), (KEY_1, KEY_2)]


async def test_a_cell_that_is_there_already_gets_its_keys_into_the_map(leaders_store: ShardMapStore) -> None:
    """Each `up` says what it has; an address that changes later takes none away."""
    shard_map = await leaders_store.load()
    urls = ("http://127.0.0.1:1",), ("http://127.0.0.1:2",)
    keyed = await register_cell(leaders_store, shard_map, "cell-1", *urls, signing_keys=(KEY_1,), by="ann")
    again = await register_cell(leaders_store, keyed, "cell-1", *urls, signing_keys=(KEY_1,), by="ann")
    assert (keyed.cell("cell-1").signing_keys, again) == ((KEY_1,), keyed)  # type: ignore[union-attr]
    moved = await register_cell(leaders_store, again, "cell-1", ("http://127.0.0.1:3",), urls[1], by="ann")
    assert moved.cell("cell-1").signing_keys == (KEY_1,)  # type: ignore[union-attr]


async def test_a_map_says_since_when_each_owner_is_one(
    leaders_store: ShardMapStore, control_database: TestDatabase
) -> None:
    """What an older release has assigned has no ownership epoch: the map's epoch of that change stands for it."""
    user, older = uuid.uuid4(), uuid.uuid4()
    drawn = await leaders_store.draw_ownership_epoch()
    await leaders_store.set_pins({older: "cell-1"}, **WHO)
    await leaders_store.pin(user, "cell-2", drawn, **WHO)
    with psycopg.connect(control_database.owner_dsn, autocommit=True) as owner:
        owner.execute("update control.pins set ownership_epoch = null where user_id = %s", [older])
        rows = owner.execute("select epoch from control.pins where user_id = %s", [older]).fetchone()
        bucket, since = owner.execute("select bucket, ownership_epoch from control.buckets limit 1").fetchone() or ()
    for shard_map in (await leaders_store.load(), decode_map(encode_map(await leaders_store.load()))):
        assert rows == (shard_map.ownership_epoch(older),)
        assert shard_map.ownership_epoch(user) == drawn
        assert shard_map.ownership is not None
        assert shard_map.ownership.buckets[bucket] == since
        free = next(number for number, owner_number in enumerate(shard_map.owners) if not owner_number)
        assert shard_map.ownership.buckets[free] == 0
