"""The open tunnels of one router, and whose they are: what was opened by a token that is void now comes to an end."""

from collections.abc import Callable, Collection
from uuid import UUID

from router.frames import POLICY_VIOLATION
from router.identify import Route
from router.tunnel import Tunnel


class TunnelRegistry:
    """By tunnel the route that it was opened by: user and key."""

    def __init__(self) -> None:
        self._routes: dict[Tunnel, Route] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def add(self, tunnel: Tunnel, route: Route) -> None:
        self._routes[tunnel] = route

    def discard(self, tunnel: Tunnel) -> None:
        self._routes.pop(tunnel, None)

    def close_of(self, user_ids: Collection[UUID]) -> None:
        """Their tokens are void."""
        self._close(lambda route: route.user_id in user_ids)

    def close_under_other_keys(self, kids: Collection[str]) -> None:
        """Only tokens under these keys are ours."""
        self._close(lambda route: route.kid not in kids)

    def _close(self, is_void: Callable[[Route], bool]) -> None:
        for tunnel in [tunnel for tunnel, route in self._routes.items() if is_void(route)]:
            tunnel.leave(POLICY_VIOLATION, 0.0)
