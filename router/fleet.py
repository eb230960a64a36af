"""Every destination as the router reaches it: servers, permits, breakers, figures. One object per destination, kept
across maps as long as its addresses stay, so a new epoch costs no connection.

A user sticks to one server of a destination (`rendezvous.py`), and goes to the next heaviest while that one fails.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from infra.runtime.cancelling import cancel_all
from infra.runtime.fair_permits import FairPermits
from infra.runtime.telemetry import LATENCY_BUCKETS_S
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap
from router.admission import NO_CAP, Admission
from router.breaker import Breaker
from router.bulkhead import Bulkhead
from router.destination import CellDestination, Destination, ServiceDestination, ServiceName, label_of
from router.errors import CellOverloaded, CellUnavailable
from router.kinds import Kind
from router.rendezvous import weigh
from router.settings import AdmissionSettings, UpstreamSettings
from router.ticking import ticks
from router.upstream import UpstreamConnection, UpstreamServer

_log = logging.getLogger(__name__)
_SWEEP_S: Final = 0.1
"""How late a deadline may be noticed: little beside one of 8 s, and ten rounds a second cost nothing that shows."""


class Figures:
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


class Upstream:
    """One destination: a permit is taken before a connection is, and given back with it. `whom` is a user's id as an
    integer: whose share the permit comes from, and whose server is asked first; 0 for requests of no user."""

    __slots__ = (
        "_every_server",
        "_settings",
        "admission",
        "bulkhead",
        "destination",
        "figures",
        "label",
        "servers",
        "slow_answers",
        "streams",
        "tunnels",
    )

    def __init__(
        self, destination: Destination, urls: Iterable[str], settings: UpstreamSettings, admission: AdmissionSettings
    ) -> None:
        self.destination = destination
        self.label = label_of(destination)
        self._settings = settings
        self.admission = Admission(admission)
        self.bulkhead = Bulkhead(settings)
        self.figures = Figures()
        self.slow_answers = 0
        self.tunnels = 0
        self.streams = FairPermits(
            permits_max=settings.tunnels_max,
            permits_per_holder_max=settings.user_tunnels_max,
            waiting_max=0,
            waiting_per_holder_max=0,
        )
        """Permits for WebSockets that are open or being opened; nobody waits for one."""
        self.servers: list[UpstreamServer] = []
        self._every_server: WeakSet[UpstreamServer] = WeakSet()
        """With those whose address is gone while a request is at one: it has a deadline, and a permit to give back."""
        self.set_addresses(urls)

    def set_addresses(self, urls: Iterable[str]) -> None:
        known = {server.url: server for server in self.servers}
        self.servers = []
        for url in dict.fromkeys(urls):
            try:
                self.servers.append(known.pop(url) if url in known else self._make_server(url))
            except ValueError as error:  # one wrong entry must not cost the users of the other cells their map
                _log.error("an address of a cell cannot be used", extra={"cell": self.label, "why": str(error)})
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

    def take_ready(self, now_s: float, kind: Kind, whom: int) -> UpstreamConnection | None:
        """The usual case without waiting: a permit and an idle connection to the user's server. None: whatever it is,
        `take_in_time` finds out."""
        servers = self.servers
        if len(servers) == 1:  # nearly every cell: nothing to choose, and no weight to compute
            server = servers[0]
            # It failed a moment ago: whether it may be tried is the breaker's to say, on the slow path.
            if server.breaker.failures_in_a_row:
                return None
        else:
            healthy = self._heaviest_healthy(whom)
            if healthy is None:
                return None
            server = healthy
        permits = self.bulkhead.permits[kind]
        if not permits.try_acquire(whom):
            return None
        connection = server.take_idle(now_s)
        if connection is None:
            permits.release(whom)
        else:
            connection.permits = permits
            connection.whom = whom
        return connection

    def _heaviest_healthy(self, whom: int) -> UpstreamServer | None:
        """A loop instead of `max` with a key: it is run for every request of a destination of several servers."""
        heaviest, weight_max = None, -1
        for server in self.servers:
            if not server.breaker.failures_in_a_row:
                weight = weigh(whom, server.seed)
                if weight > weight_max:
                    heaviest, weight_max = server, weight
        return heaviest

    def _in_order(self, whom: int) -> list[UpstreamServer]:
        """The healthy first, the user's own first among them."""
        return sorted(
            self.servers, key=lambda server: (server.breaker.failures_in_a_row > 0, -weigh(whom, server.seed))
        )

    async def take_in_time(self, within_s: float, kind: Kind, whom: int, *, fresh: bool = False) -> UpstreamConnection:
        """Wait for a permit, then connect if need be. Raises `CellUnavailable`, `CellOverloaded` or `TooManyRequests`;
        nothing was sent."""
        if within_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    return await self._take(kind, whom, fresh=fresh)
        raise CellOverloaded("there was no time left to ask the cell; nothing was done")

    async def _take(self, kind: Kind, whom: int, *, fresh: bool) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        if not self.is_reachable(loop.time()):
            raise CellUnavailable("the cell that serves this user does not answer")
        await self.bulkhead.acquire(kind, whom)
        permits = self.bulkhead.permits[kind]
        try:
            connection = await self._take_connection(loop, whom, fresh=fresh)
        except BaseException:
            permits.release(whom)
            raise
        connection.permits = permits
        connection.whom = whom
        return connection

    async def _take_connection(self, loop: asyncio.AbstractEventLoop, whom: int, *, fresh: bool) -> UpstreamConnection:
        for server in self._in_order(whom):
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

    def pick_server(self, whom: int, now_s: float) -> UpstreamServer:
        """For a connection outside the pool. Raises `CellUnavailable`."""
        for server in self._in_order(whom):
            if server.breaker.allows(now_s):
                return server
        raise CellUnavailable("the cell that serves this user does not answer")

    def give_back(self, connection: UpstreamConnection, now_s: float) -> None:
        """After an answer."""
        connection.server.breaker.succeed()
        connection.server.give_back(connection, now_s)
        self._release(connection)

    def lose(self, connection: UpstreamConnection, now_s: float) -> None:
        """After a connection broke under a request. A kept-alive connection may simply have been closed meanwhile,
        so only a fresh one counts against the server, and one that was late."""
        self.figures.broken += 1
        if connection.fresh or connection.deadline_s <= now_s:
            connection.server.breaker.fail(now_s)
        if not connection.fresh:
            connection.server.drop_idle()
        self._release(connection)

    def mark_slow(self, connection: UpstreamConnection) -> None:
        """Its client does not take the answer as fast as it comes. The cell has done its part, so the permit is
        for others; the answer goes on counting towards its customer's share."""
        if connection.is_slow or self.slow_answers >= self._settings.slow_answers_max:
            return
        connection.is_slow = True
        self.slow_answers += 1
        assert connection.permits is not None
        connection.permits.release_permit(connection.whom)

    def _release(self, connection: UpstreamConnection) -> None:
        permits = connection.permits
        assert permits is not None
        if connection.is_slow:
            connection.is_slow = False
            self.slow_answers -= 1
            permits.release_share(connection.whom)
        else:
            permits.release(connection.whom)

    def is_reachable(self, now_s: float) -> bool:
        return any(not server.breaker.is_open(now_s) for server in self.servers)

    def sweep(self, now_s: float) -> None:
        # A copy: the end of its last request drops a server that has left the map.
        for server in list(self._every_server):
            server.sweep(now_s)


class Fleet:
    """All destinations, and the one sweep that keeps their deadlines."""

    def __init__(self, settings: UpstreamSettings, admission: AdmissionSettings = NO_CAP) -> None:
        """`admission` is of each cell; a service beside them has no stated rate."""
        self._settings = settings
        self._admission = admission
        self._upstreams: dict[Destination, Upstream] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def follow(self, shard_map: ShardMap) -> None:
        """Take over the addresses of a new map. Cells that left it keep their figures and lose their servers; services,
        of which no map says anything, stay as they are."""
        for cell in shard_map.cells:
            self._set_addresses(CellDestination(cell.cell_id), cell.api_urls)

    def add_service(self, name: ServiceName, urls: Iterable[str]) -> Upstream:
        """A destination beside the cells; again with other addresses when they change."""
        return self._set_addresses(ServiceDestination(name), urls)

    def _set_addresses(self, destination: Destination, urls: Iterable[str]) -> Upstream:
        known = self._upstreams.get(destination)
        if known is None:
            admission = self._admission if isinstance(destination, CellDestination) else NO_CAP
            known = self._upstreams[destination] = Upstream(destination, urls, self._settings, admission)
        else:
            known.set_addresses(urls)
        return known

    def cell(self, cell_id: CellId) -> Upstream:
        """Raises KeyError for a cell that no map has named."""
        return self._upstreams[CellDestination(cell_id)]

    def cells(self) -> list[Upstream]:
        return [one for one in self._upstreams.values() if isinstance(one.destination, CellDestination)]

    def upstreams(self) -> Iterable[Upstream]:
        return self._upstreams.values()

    def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="fleet-sweep")

    async def close(self) -> None:
        if self._sweeper is not None:
            await cancel_all([self._sweeper])
        for upstream in self._upstreams.values():
            for server in upstream.servers:
                server.close()

    async def _sweep(self) -> None:
        async for now_s in ticks(lambda: _SWEEP_S):
            for upstream in self._upstreams.values():
                upstream.sweep(now_s)
