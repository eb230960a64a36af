"""A client asks for a WebSocket: judged like any request (token, limits, route, 421), then a tunnel.

What the cell answers other than 101 goes to the client as an ordinary answer. The token is judged once more when the
cell has accepted: nobody would end a stream later that was opened by a token that is void already.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Final

from infra.runtime.logs import bind_request
from router.answer import write_answer_head
from router.budget import budget_ms
from router.cell_exchange import CellExchange
from router.errors import CellOverloaded, CellUnavailable, RouterRefusal, TooManyRequests
from router.exchange import Client
from router.fleet import Upstream
from router.frames import SERVICE_RESTART
from router.headers import as_upgrade, write_request
from router.misroute import Misroutes, Trail
from router.request import Request
from router.services import Services
from router.tasks import TaskRegistry
from router.tunnel import Tunnel
from router.tunnel_registry import TunnelRegistry

_EARLY_BYTES_MAX: Final = 65_536
"""What a client may say before the cell has even agreed: one large frame."""


@dataclass(frozen=True, slots=True)
class UpgradeServices:
    """What upgrades need beside what all requests do."""

    misroutes: Misroutes
    tasks: TaskRegistry
    tunnels: TunnelRegistry
    tunnel_idle_s: float
    drain_idle_s: float
    """How long a side may take to end the frame that it is in, when the router goes."""


class Upgrade(CellExchange):
    """The client's end of a tunnel, from the request to the last byte."""

    takes_bytes = True

    def __init__(self, client: Client, services: Services, request: Request, others: UpgradeServices) -> None:
        super().__init__(client, services, request)
        self._others = others
        self._early = b""
        self._tunnel: Tunnel | None = None
        """Only while it is open."""
        request.keep_alive = False

    def forward(self, now_s: float) -> None:
        self._others.tasks.spawn(self._run())

    # What the client's connection tells.

    def receive(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.send(data)
            return
        self._early += data
        if len(self._early) > _EARLY_BYTES_MAX:
            self.client.abort()

    def client_left(self) -> None:
        self.disconnected = True
        if self._tunnel is not None:
            self._tunnel.client_left()

    def pause(self) -> None:
        if self._tunnel is not None:
            self._tunnel.pause_reading()

    def resume(self) -> None:
        if self._tunnel is not None:
            self._tunnel.resume_reading()

    def drain(self) -> None:
        if self._tunnel is not None:
            self._tunnel.leave(SERVICE_RESTART, self._others.drain_idle_s)

    def sweep(self, now_s: float) -> None:
        if self._tunnel is not None and now_s - self._tunnel.moved_s > self._others.tunnel_idle_s:
            self._tunnel.close()

    # From the request to the open tunnel, or to an ordinary answer.

    async def _run(self) -> None:
        bind_request(self.request.request_id, self.request.trace)
        try:
            tunnel = await self._ask_for_the_valid()
        except RouterRefusal as refusal:
            self.refuse(refusal)
            return
        if tunnel.status != 101:
            self._deliver_refused(tunnel)
            tunnel.close()
        elif self.disconnected:
            tunnel.close()
            self.end()
        else:
            self._open(tunnel)
            if self.client.draining:
                self.drain()  # now there is a tunnel to close

    def _open(self, tunnel: Tunnel) -> None:
        cell = self.route.cell
        cell.tunnels += 1
        cell.figures.answered(101, monotonic() - self.request.received_s)
        self._others.tunnels.add(tunnel, self.route)
        early, self._early = self._early, b""
        self._tunnel = tunnel
        tunnel.open(early, self._tunnel_ended)

    def _tunnel_ended(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        assert tunnel is not None
        self._others.tunnels.discard(tunnel)
        self.route.cell.tunnels -= 1
        self.end()

    async def _ask_for_the_valid(self) -> Tunnel:
        """A tunnel whose cell has answered, for a token that is valid still. Raises a `RouterRefusal`."""
        tunnel = await self._ask_owner()
        try:
            self.services.routes.of_request(self.request.authorization)
        except RouterRefusal:
            tunnel.close()
            raise
        return tunnel

    async def _ask_owner(self) -> Tunnel:
        """Ask the user's cell for the upgrade, following 421. Raises a `RouterRefusal`."""
        misroutes, trail = self._others.misroutes, Trail()
        tunnel = await self._ask(self.route.cell)
        while tunnel.status == 421:
            self.services.routes.forget(self.request.authorization)
            self.route.cell.figures.misdirected += 1
            tunnel.close()
            self.route = await misroutes.find_owner(self.route, tunnel.body, trail)
            tunnel = await self._ask(self.route.cell)
        try:
            misroutes.check_followed(self.route, tunnel.status, tunnel.body)
        except RouterRefusal:
            self.services.routes.forget(self.request.authorization)
            tunnel.close()
            raise
        return tunnel

    async def _ask(self, cell: Upstream) -> Tunnel:
        whom = self.route.user_id.int
        if not cell.streams.try_acquire(whom):
            if cell.streams.has_full_share(whom):
                raise TooManyRequests("as many open streams as one customer may have")
            raise CellOverloaded("the cell has as many open streams as it may have")
        tunnel = Tunnel(self.client, release=lambda: cell.streams.release(whom))
        try:
            await self._connect(cell, tunnel)
        except BaseException:
            tunnel.release_permit()
            raise
        return tunnel

    async def _connect(self, cell: Upstream, tunnel: Tunnel) -> None:
        """To the whole answer of a server of the cell, in time."""
        loop = asyncio.get_running_loop()
        if self.budget_s <= 0:
            raise CellOverloaded("there was no time left to ask the cell; nothing was done")
        server = cell.pick_server(self.route.user_id.int, loop.time())
        try:
            async with asyncio.timeout(self.deadline_s - loop.time()):
                await loop.create_connection(lambda: tunnel, server.host, server.port)
                try:
                    tunnel.send(self._written_for(server.host_header))
                    await tunnel.answered
                except BaseException:
                    tunnel.close()
                    raise
        except (OSError, TimeoutError) as error:
            server.breaker.fail(loop.time())
            raise CellUnavailable("the cell that serves this user does not answer") from error
        server.breaker.succeed()

    def _written_for(self, host: bytes) -> bytes:
        """The upgrade as the cell gets it."""
        request = self.request
        written = write_request(
            method=request.method,
            target=request.target,
            host=host,
            route_token=self.route.token,
            request_id=request.request_id,
            trace=request.trace,
            budget_ms=budget_ms(self.deadline_s, monotonic()),
            passed=request.passed,
            body=b"",
        )
        return as_upgrade(written)

    def _deliver_refused(self, tunnel: Tunnel) -> None:
        """The cell's ordinary answer to an upgrade it does not want."""
        self.route.cell.figures.answered(tunnel.status, monotonic() - self.request.received_s)
        if not self.disconnected:
            kept = [header for header in tunnel.headers if header[0] != b"content-length"]
            ours = self.limit_headers(monotonic())
            parts = write_answer_head(tunnel.status, kept, ours, len(tunnel.body), chunked=False, last=True)
            self.client.write(b"".join([*parts, tunnel.body]))
        self.end()
