"""What all requests of one router share: who may come in, where users live, what is under way, and what was refused."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from router.access_log import AccessLog
from router.budget import budget_ms
from router.carry import carry_or_refuse
from router.frames import POLICY_VIOLATION
from router.headers import Ids
from router.hold import Holding
from router.identify import Route, Routes
from router.limits import Limit
from router.misroute import Misroutes
from router.settings import EdgeSettings
from router.tunnel import Tunnel
from router.upgrade import run_tunnel

if TYPE_CHECKING:
    from router.edge import EdgeProtocol
    from router.forward import ForwardedRequest


@dataclass(frozen=True)
class Limits:
    user: Limit
    address: Limit
    identity: Limit


class Forwarder:
    """One for a router."""

    def __init__(
        self,
        routes: Routes,
        misroutes: Misroutes,
        holding: Holding,
        limits: Limits,
        log: AccessLog,
        *,
        deadline_s: float,
    ) -> None:
        self.routes = routes
        self.holding = holding
        self.misroutes = misroutes
        self.ids = Ids()
        self.deadline_s = deadline_s
        self.whole_budget_ms = budget_ms(deadline_s, 0.0)
        self.limits = limits
        self.clients: set[EdgeProtocol] = set()
        self.clients_by_address: dict[str, int] = {}
        self.clients_refused = 0
        self.tunnels: set[Tunnel] = set()
        self.log = log
        self.tasks: set[asyncio.Task[None]] = set()
        self.refusals: dict[str, int] = {}

    def admit(self, client: "EdgeProtocol", settings: EdgeSettings) -> bool:
        """A new connection, if there are not too many of all, or of its address."""
        of_address = self.clients_by_address.get(client.address, 0)
        if len(self.clients) >= settings.clients_max or of_address >= settings.clients_per_address_max:
            self.clients_refused += 1
            return False
        self.clients.add(client)
        self.clients_by_address[client.address] = of_address + 1
        return True

    def dismiss(self, client: "EdgeProtocol") -> None:
        if client in self.clients:
            self.clients.remove(client)
            left = self.clients_by_address[client.address] - 1
            if left:
                self.clients_by_address[client.address] = left
            else:
                del self.clients_by_address[client.address]

    def spawn_tunnel(self, request: "ForwardedRequest") -> None:
        task = asyncio.get_running_loop().create_task(run_tunnel(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close_tunnels_of(self, user_ids: Collection[UUID]) -> None:
        """Their tokens are void, so what was opened by them ends."""
        self._close_tunnels(lambda route: route.user_id in user_ids)

    def close_tunnels_under_other_keys(self, kids: Collection[str]) -> None:
        """Only tokens under these keys are ours, so what was opened by others ends."""
        self._close_tunnels(lambda route: route.kid not in kids)

    def _close_tunnels(self, is_void: Callable[[Route], bool]) -> None:
        for tunnel in [tunnel for tunnel in self.tunnels if is_void(tunnel.request.route)]:
            tunnel.leave(POLICY_VIOLATION, 0.0)

    def spawn(self, request: "ForwardedRequest", broken: str | None) -> None:
        task = asyncio.get_running_loop().create_task(carry_or_refuse(request, broken))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
