"""Every cell the map names, as the router reaches it: servers, places, breakers, figures. One object per cell, kept
across maps as long as its addresses stay, so a new epoch costs no connection."""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Hashable, Iterable
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from infra.runtime.cancelling import cancel_all
from infra.runtime.fair_places import FairPlaces
from infra.runtime.telemetry import LATENCY_BUCKETS_S
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap
from router.breaker import Breaker
from router.bulkhead import Bulkhead
from router.errors import CellOverloaded, CellUnavailable
from router.settings import UpstreamSettings
from router.ticking import ticks
from router.upstream import UpstreamConnection, UpstreamServer

_log = logging.getLogger(__name__)
_SWEEP_S: Final = 0.1


class CellFigures:
    """Plain integers, added to on every request and turned into metrics only when somebody asks for metrics."""

    __slots__ = ("answers", "broken", "latency_counts", "latency_sum_s", "misdirected", "resent")

    def __init__(self) -> None:
        self.answers = [0] * 6  # by hundreds of the status
        self.latency_counts = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.latency_sum_s = 0.0
        self.broken = 0
        self.resent = 0
        self.misdirected = 0

    def answered(self, status: int, took_s: float) -> None:
        self.answers[status // 100] += 1
        self.latency_counts[bisect_left(LATENCY_BUCKETS_S, took_s)] += 1
        self.latency_sum_s += took_s


class CellUpstream:
    """One cell: a place is taken before a connection is, and given back with it."""

    __slots__ = (
        "_every_server",
        "_settings",
        "bulkhead",
        "cell_id",
        "figures",
        "servers",
        "slow_answers",
        "streams",
        "tunnels",
    )

    def __init__(self, cell: Cell, settings: UpstreamSettings) -> None:
        self.cell_id: CellId = cell.cell_id
        self._settings = settings
        self.bulkhead = Bulkhead(settings)
        self.figures = CellFigures()
        self.slow_answers = 0
        self.tunnels = 0
        self.streams = FairPlaces(
            places_max=settings.tunnels_max,
            of_one_max=settings.user_tunnels_max,
            waiting_max=0,
            waiting_of_one_max=0,
        )
        """WebSockets that are open or being opened; nobody waits for a place of theirs."""
        self.servers: list[UpstreamServer] = []
        self._every_server: WeakSet[UpstreamServer] = WeakSet()
        """With those whose address is gone while a request is at one: it has a deadline, and a place to give back."""
        self.set_addresses(cell.api_urls)

    def set_addresses(self, urls: Iterable[str]) -> None:
        known = {server.url: server for server in self.servers}
        self.servers = []
        for url in dict.fromkeys(urls):
            try:
                self.servers.append(known.pop(url) if url in known else self._make_server(url))
            except ValueError as error:  # one wrong entry must not cost the users of the other cells their map
                _log.error("an address of a cell cannot be used", extra={"cell": self.cell_id, "why": str(error)})
        for gone in known.values():
            gone.close()

    def _make_server(self, url: str) -> UpstreamServer:
        settings = self._settings
        server = UpstreamServer(
            url,
            breaker=Breaker(failures=settings.breaker_failures, open_s=settings.breaker_open_s),
            connect_timeout_s=settings.connect_timeout_s,
            idle_max_s=settings.idle_max_s,
        )
        self._every_server.add(server)
        return server

    def take_ready(self, now_s: float, places: FairPlaces, whom: Hashable) -> UpstreamConnection | None:
        """The usual case without waiting: a place and an idle connection to the least busy healthy server."""
        servers = self.servers
        if len(servers) == 1:
            server = servers[0]
        elif servers:
            server = min(servers, key=_load)
        else:
            return None
        if server.breaker.failures_in_a_row or not places.try_enter(whom):
            return None
        connection = server.take_idle(now_s)
        if connection is None:
            places.leave(whom)
        else:
            connection.places = places
            connection.whom = whom
        return connection

    async def take_in_time(
        self, within_s: float, places: FairPlaces, whom: Hashable, *, fresh: bool = False
    ) -> UpstreamConnection:
        """Wait for a place, then connect if need be. Raises `CellUnavailable`, `CellOverloaded` or `TooManyRequests`;
        nothing was sent."""
        if within_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    return await self._take(places, whom, fresh=fresh)
        raise CellOverloaded("there was no time left to ask the cell; nothing was done")

    async def _take(self, places: FairPlaces, whom: Hashable, *, fresh: bool) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        if not self.is_reachable(loop.time()):
            raise CellUnavailable("the cell that serves this user does not answer")
        await self.bulkhead.enter(places, whom)
        try:
            connection = await self._take_connection(loop, fresh=fresh)
        except BaseException:
            places.leave(whom)
            raise
        connection.places = places
        connection.whom = whom
        return connection

    async def _take_connection(self, loop: asyncio.AbstractEventLoop, *, fresh: bool) -> UpstreamConnection:
        for server in sorted(self.servers, key=_load):
            if not server.breaker.allows(loop.time()):
                continue
            connection = None if fresh else server.take_idle(loop.time())
            if connection is not None:
                return connection
            try:
                return await server.connect()
            except (OSError, TimeoutError):
                server.breaker.fail(loop.time())
        raise CellUnavailable("the cell that serves this user does not answer")

    def pick_server(self, now_s: float) -> UpstreamServer:
        """For a connection outside the pool. Raises `CellUnavailable`."""
        for server in sorted(self.servers, key=_load):
            if server.breaker.allows(now_s):
                return server
        raise CellUnavailable("the cell that serves this user does not answer")

    def give_back(self, connection: UpstreamConnection, now_s: float) -> None:
        """After an answer."""
        connection.server.breaker.succeed()
        connection.server.give_back(connection, now_s)
        self._leave_place(connection)

    def lose(self, connection: UpstreamConnection, now_s: float) -> None:
        """After a connection broke under a request. A kept-alive connection may simply have been closed meanwhile,
        so only a fresh one speaks against the server."""
        self.figures.broken += 1
        if connection.fresh or connection.deadline_s <= now_s:
            connection.server.breaker.fail(now_s)
        if not connection.fresh:
            connection.server.drop_idle()
        self._leave_place(connection)

    def set_aside(self, connection: UpstreamConnection) -> None:
        """Its client does not take the answer as fast as it comes. The cell has done its part, so the place is for
        others; it goes on counting as its customer's."""
        if connection.is_aside or self.slow_answers >= self._settings.slow_answers_max:
            return
        connection.is_aside = True
        self.slow_answers += 1
        assert connection.places is not None
        connection.places.vacate(connection.whom)

    def _leave_place(self, connection: UpstreamConnection) -> None:
        places = connection.places
        assert places is not None
        if connection.is_aside:
            connection.is_aside = False
            self.slow_answers -= 1
            places.leave_share(connection.whom)
        else:
            places.leave(connection.whom)

    def is_reachable(self, now_s: float) -> bool:
        return any(not server.breaker.is_open(now_s) for server in self.servers)

    def sweep(self, now_s: float) -> None:
        for server in list(self._every_server):
            server.sweep(now_s)


def _load(server: UpstreamServer) -> tuple[bool, int]:
    return server.breaker.failures_in_a_row > 0, len(server.busy)


class Fleet:
    def __init__(self, settings: UpstreamSettings) -> None:
        self._settings = settings
        self._cells: dict[CellId, CellUpstream] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def follow(self, shard_map: ShardMap) -> None:
        """Take over the addresses of a new map. Cells that left it keep their figures and lose their servers."""
        for cell in shard_map.cells:
            known = self._cells.get(cell.cell_id)
            if known is None:
                self._cells[cell.cell_id] = CellUpstream(cell, self._settings)
            else:
                known.set_addresses(cell.api_urls)

    def cell(self, cell_id: CellId) -> CellUpstream:
        return self._cells[cell_id]

    def cells(self) -> Iterable[CellUpstream]:
        return self._cells.values()

    def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="fleet-sweep")

    async def close(self) -> None:
        if self._sweeper is not None:
            await cancel_all([self._sweeper])
        for cell in self._cells.values():
            for server in cell.servers:
                server.close()

    async def _sweep(self) -> None:
        async for now_s in ticks(lambda: _SWEEP_S):
            for cell in self._cells.values():
                cell.sweep(now_s)
