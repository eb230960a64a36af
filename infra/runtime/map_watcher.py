"""The newest shard map in memory: never older than what was held, never another stack's.

At start it takes the newest valid map of Redis, the control database and the file, in this order where they agree, and
does not wait for what hangs.
While running it listens to Redis for changes and asks both sources now and then, so a lost notice costs seconds. Every
new map goes to the file, so a restart with everything else dead serves every known user. Losing all sources is not an
error here: the map in memory stays right until an owner changes, and then the cells say 421.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from infra.runtime.cancelling import cancel_all
from infra.runtime.clock import Clock
from infra.runtime.map_source import MapUnavailable
from infra.topology.diff import MAGICS as DELTA_MAGICS
from infra.topology.diff import apply_delta, decode_delta
from infra.topology.errors import DeltaDoesNotFit, MapError, MapOfAnotherLineage, MapTooOld
from infra.topology.identifiers import Epoch, LineageId
from infra.topology.shard_map import ShardMap

_log = logging.getLogger(__name__)
_REASONS: Final = {MapOfAnotherLineage: "lineage", MapTooOld: "older"}


class MapSource(Protocol):
    async def read(self) -> ShardMap | None: ...


class NotifyingSource(MapSource, Protocol):
    async def read_version(self) -> tuple[LineageId, Epoch] | None: ...

    async def listen(self, on_notice: Callable[[bytes], Awaitable[None]]) -> None: ...


class MapFile(MapSource, Protocol):
    async def write(self, shard_map: ShardMap) -> None: ...


class ControlSource(MapSource, Protocol):
    async def read_epoch(self) -> tuple[LineageId, Epoch] | None: ...


@dataclass
class MapWatch:
    """What the watcher knows: facts for readiness and metrics."""

    shard_map: ShardMap | None = None
    source: str = "none"
    taken_at: datetime | None = None
    confirmed_at_s: float = 0.0
    deltas: int = 0
    gaps: int = 0
    refused: dict[str, int] = field(default_factory=lambda: {"corrupted": 0, "lineage": 0, "older": 0})
    unavailable: dict[str, int] = field(default_factory=lambda: {"redis": 0, "control": 0, "file": 0})


class MapWatcher:
    def __init__(
        self,
        *,
        redis_source: NotifyingSource,
        control_source: ControlSource,
        file_source: MapFile,
        clock: Clock,
        poll_s: float = 5.0,
        start_wait_s: float = 1.0,
        on_change: Callable[[ShardMap], None] = lambda _: None,
    ) -> None:
        self._redis_source = redis_source
        self._control_source = control_source
        self._file_source = file_source
        self._clock = clock
        self._poll_s = poll_s
        self._start_wait_s = start_wait_s
        self._on_change = on_change
        self.watch = MapWatch()
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._file_wanted = asyncio.Event()

    @property
    def current(self) -> ShardMap | None:
        return self.watch.shard_map

    async def start(self) -> None:
        """Hold the newest map that can be had in a moment, then keep watching. Never raises for a missing one."""
        readings: dict[str, asyncio.Task[ShardMap | None]] = {
            "control": asyncio.create_task(self._read("control", self._control_source)),
            "redis": asyncio.create_task(self._read("redis", self._redis_source)),
            "file": asyncio.create_task(self._read("file", self._file_source)),
        }
        done, late = await asyncio.wait(readings.values(), timeout=self._start_wait_s)
        for task in late:
            task.cancel()
        found = {name: task.result() for name, task in readings.items() if task in done}
        for name, shard_map in _by_trust(found):
            self._offer(shard_map, name)
        if self.watch.shard_map is not None:
            _log.info("map held at start", extra={"epoch": self.watch.shard_map.epoch, "source": self.watch.source})
        else:
            _log.warning("no map anywhere yet; waiting for one")
        self._tasks = [asyncio.create_task(loop) for loop in (self._poll(), self._keep_file(), self._listen())]

    async def stop(self) -> None:
        await cancel_all([*self._tasks, *([self._refreshing] if self._refreshing else [])])
        # A task holds the connection that it was making, and a server holds up others for one that it waits to greet.
        self._tasks, self._refreshing = [], None

    async def refresh(self, timeout_s: float) -> None:
        """Ask Redis and the control database now; callers at the same time share one asking."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                # Who has no time left goes; the asking is the others', too.
                await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        async def from_control() -> None:
            if await self._control_is_newer():
                self._offer(await self._read("control", self._control_source), "control")

        async def from_redis() -> None:
            if await self._redis_is_newer():
                self._offer(await self._read("redis", self._redis_source), "redis")

        await asyncio.gather(from_redis(), from_control())

    async def _redis_is_newer(self) -> bool:
        """Ask for the version first: a snapshot may be twenty megabytes."""
        held = self.watch.shard_map
        if held is None:
            return True
        try:
            published = await self._redis_source.read_version()
        except MapUnavailable:
            self.watch.unavailable["redis"] += 1
            return False
        if published == (held.lineage, held.epoch):
            self.watch.confirmed_at_s = self._clock.monotonic()
            return False
        return True

    async def _control_is_newer(self) -> bool:
        held = self.watch.shard_map
        if held is None:
            return True
        try:
            published = await self._control_source.read_epoch()
        except MapUnavailable:
            self.watch.unavailable["control"] += 1
            return False
        if published == (held.lineage, held.epoch):
            self.watch.confirmed_at_s = self._clock.monotonic()
        return published is not None and published != (held.lineage, held.epoch)

    async def _read(self, name: str, source: MapSource) -> ShardMap | None:
        try:
            return await source.read()
        except MapUnavailable as error:
            self.watch.unavailable[name] += 1
            _log.debug("map source does not answer", extra={"source": name, "why": str(error)})
        except MapError as error:
            self.watch.refused["corrupted"] += 1
            _log.error("map refused", extra={"source": name, "why": str(error)})
        return None

    def _offer(self, shard_map: ShardMap | None, source: str) -> None:
        if shard_map is None:
            return
        try:
            newer = _is_newer(shard_map, self.watch.shard_map)
        except (MapOfAnotherLineage, MapTooOld) as error:
            self.watch.refused[_REASONS[type(error)]] += 1
            _log.error("map refused", extra={"source": source, "why": str(error)})
            return
        # A file only says what was true when it was written.
        if source != "file":
            self.watch.confirmed_at_s = self._clock.monotonic()
        if newer:
            self.watch.shard_map = shard_map
            self.watch.source = source
            self.watch.taken_at = self._clock.now()
            self._on_change(shard_map)
            self._file_wanted.set()
            _log.info("map taken", extra={"source": source, "epoch": shard_map.epoch})

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s if self.watch.shard_map is not None else min(self._poll_s, 0.5))
            try:
                await self.refresh(self._poll_s * 4)
            except Exception:  # a watcher that has died unnoticed would serve yesterday's map for ever
                _log.exception("asking for the map failed for a reason that no branch expects")

    async def _listen(self) -> None:
        async def take_from_redis(notice: bytes) -> None:
            if not await self._take_delta(notice):
                self._offer(await self._read("redis", self._redis_source), "redis")

        while True:
            try:
                await self._redis_source.listen(take_from_redis)
            except MapUnavailable as error:
                _log.debug("not listening for map changes", extra={"why": str(error)})
            except Exception:
                _log.exception("listening for map changes failed for a reason that no branch expects")
            await asyncio.sleep(0.5)

    async def _take_delta(self, notice: bytes) -> bool:
        """Whether the notice brought the next map by itself. A gap, or anything odd, is a reason to read all of it."""
        held = self.watch.shard_map
        if held is None or not notice.startswith(tuple(DELTA_MAGICS.values())):
            return False
        try:
            delta = decode_delta(notice)
            if delta.lineage == held.lineage and delta.to_epoch <= held.epoch:
                return True  # known already
            newer = apply_delta(held, delta)
        except DeltaDoesNotFit:
            self.watch.gaps += 1
            return False
        except MapError as error:
            self.watch.refused["corrupted"] += 1
            _log.error("map delta refused", extra={"why": str(error)})
            return False
        self.watch.deltas += 1
        self._offer(newer, "redis")
        return True

    async def _keep_file(self) -> None:
        while True:
            await self._file_wanted.wait()
            self._file_wanted.clear()
            shard_map = self.watch.shard_map
            # It came from there.
            if shard_map is None or self.watch.source == "file":
                continue
            try:
                await self._file_source.write(shard_map)
            except OSError as error:
                _log.error("the map file cannot be written", extra={"why": str(error)})
                await asyncio.sleep(1.0)
                self._file_wanted.set()


def _is_newer(offered: ShardMap, held: ShardMap | None) -> bool:
    if held is None:
        return True
    if offered.lineage != held.lineage:
        raise MapOfAnotherLineage(f"lineage {offered.lineage} is not ours ({held.lineage})")
    if offered.epoch < held.epoch:
        raise MapTooOld(f"epoch {offered.epoch} is older than the {held.epoch} held")
    return offered.epoch > held.epoch


def _by_trust(found: dict[str, ShardMap | None]) -> list[tuple[str, ShardMap]]:
    """Who says whose stack we are: the control database, else our own file, else Redis. Of its maps the newest; among
    equals that of Redis, then the control database's, then the file's."""
    maps = {name: shard_map for name in ("redis", "control", "file") if (shard_map := found.get(name)) is not None}
    if not maps:
        return []
    lineage = next(maps[name] for name in ("control", "file", "redis") if name in maps).lineage
    ours = sorted((m for m in maps.items() if m[1].lineage == lineage), key=lambda m: -m[1].epoch)
    others = [m for m in maps.items() if m[1].lineage != lineage]
    return [ours[0], *others, *(m for m in ours[1:] if m[1].epoch == ours[0][1].epoch)]
