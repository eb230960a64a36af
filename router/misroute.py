"""421: the cell says the user is not its own. Refresh the map, and find another cell to ask, once.

The cells decide who owns a user, so any map may be behind. The refreshed map is believed first; if it still names
the cell that refused, the refusal's own hint is followed, but only when it is newer than the map: the hinted cell
decides for itself, and if it refuses too, the request ends. So no hint can start a loop or place a write wrongly.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap
from router.cell_body import decode_body
from router.destination import CellDestination
from router.errors import CellUnavailable
from router.identify import Route, Routes

_REFRESH_S: Final = 1.0
"""For reading the map anew after a 421: an eighth of the request's deadline; the map in memory does otherwise."""


class MisdirectedHint(msgspec.Struct):
    """What we read of a 421's body."""

    owner: str | None = None
    epoch: int | None = None


class Misroutes:
    """`refresh` reads the newest map within so many seconds; `current_map` is what is in memory then."""

    def __init__(
        self,
        routes: Routes,
        *,
        refresh: Callable[[float], Awaitable[None]],
        current_map: Callable[[], ShardMap | None],
    ) -> None:
        self._routes = routes
        self._refresh = refresh
        self._current_map = current_map
        self.loops = 0

    async def find_owner(self, refused: Route, body: bytes) -> Route:
        """The route to another cell. Raises `CellUnavailable` if nobody knows a better one.

        A map that is newer than the refused route is taken as it is; else it is refreshed. If it names another cell,
        that one is asked; if not, the one that the refusal hints at, if the hint is newer than the map.
        """
        hint = _read_hint(body)
        if self._current_map() is refused.shard_map:
            await self._refresh(_REFRESH_S)
        route = self._routes.to_owner(refused.user_id)
        if route.cell is not refused.cell:
            route.inherit_identity(refused)
            return route
        if hint.owner and (hint.epoch or 0) > route.shard_map.ownership_epoch(refused.user_id):
            hinted = CellId(hint.owner)
            if CellDestination(hinted) != refused.cell.destination:
                route = self._routes.to_cell(refused.user_id, hinted)
                route.by_hint = True
                route.inherit_identity(refused)
                return route
        raise CellUnavailable("the user is on the way to another cell")

    def check_followed(self, route: Route, status: int, body: bytes) -> None:
        """The answer of the cell that was found: it refuses too, or a hint lied. Raises `CellUnavailable`."""
        if status == 421:
            self.loops += 1
        if status == 421 or hint_was_wrong(route, status, body):
            raise CellUnavailable("the user is on the way to another cell")


def hint_was_wrong(route: Route, status: int, body: bytes) -> bool:
    """Did a hinted cell answer that it has never heard of the user? That is no answer to the customer's request."""
    return route.by_hint and status == 404 and b'"USER_NOT_FOUND"' in body


def _read_hint(body: bytes) -> MisdirectedHint:
    return decode_body(body, MisdirectedHint) or MisdirectedHint()
