"""421: the cell says the user is not its own. Refresh the map, and find the cell to ask instead.

The cells decide who owns a user, so any map may be behind. The refreshed map is believed if it says something later
than what the refused request went by; else the refusal's own hint is followed, and remembered for the user's next
requests until a map says it too (`hints.py`). Whatever is followed has a higher ownership epoch than what was refused,
so two cells that point at each other, source and target of a move among them, end a request instead of sending it in
circles. A hinted cell decides for itself: one that has never heard of the user ends the request too, and its hint is
forgotten.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from infra.topology.identifiers import CellId, Epoch
from infra.topology.shard_map import ShardMap
from router.cell_body import decode_body
from router.destination import CellDestination
from router.errors import CellUnavailable
from router.hints import Hint, Hints
from router.identify import Route, Routes

_REFRESH_S: Final = 1.0
"""For reading the map anew after a 421 that names nobody: an eighth of the request's deadline; the map in memory does
otherwise."""
_REFRESH_BESIDE_HINT_S: Final = 0.01
"""After one that names the owner: what Redis takes. A customer waits here while their user moves, and sources that hang
must not hold them; whatever a later map would say, the named cell says too. The reading goes on for who asks next."""
HINTS_MAX: Final = 4
"""Hints that one request follows: who moved more often since the map was made waits for the next map."""
_REDIRECTS_MAX: Final = 2 * HINTS_MAX
"""Of one request, by maps and hints together: as many maps may come meanwhile."""


_EPOCH_MAX: Final = 2**63 - 1
"""What a database's bigint holds; a sick cell may say anything."""


class MisdirectedHint(msgspec.Struct):
    """What we read of a 421's body."""

    owner: str | None = None
    epoch: int | None = None


@dataclass(slots=True)
class Trail:
    """What one request has followed so far."""

    hints: int = 0
    redirects: int = 0
    is_map_fresh: bool = False
    """It was refreshed for this request, and nothing was waited for since."""


class Misroutes:
    """`refresh` reads the newest map within so many seconds; `current_map` is what is in memory then."""

    def __init__(
        self,
        routes: Routes,
        hints: Hints,
        *,
        refresh: Callable[[float], Awaitable[None]],
        current_map: Callable[[], ShardMap | None],
    ) -> None:
        self._routes = routes
        self._hints = hints
        self._refresh = refresh
        self._current_map = current_map
        self.loops = 0
        self.hints_followed = 0

    async def find_owner(self, refused: Route, body: bytes, trail: Trail) -> Route:
        """The route to ask instead. Raises `CellUnavailable` if nobody knows a later owner, or too many were asked."""
        hint = _read_hint(body, refused)
        if not trail.is_map_fresh and self._current_map() is refused.shard_map:
            await self._refresh(_REFRESH_S if hint is None else _REFRESH_BESIDE_HINT_S)
        trail.is_map_fresh = True
        route = self._routes.to_owner(refused.user_id)
        if not _says_later(route, refused):
            if hint is None:
                raise self._nobody_else(refused, trail)
            route = self._routes.by_hint(refused.user_id, hint)
            self._hints.remember(refused.user_id, hint)
        trail.redirects += 1
        trail.hints += route.by_hint
        if trail.hints > HINTS_MAX or trail.redirects > _REDIRECTS_MAX:
            self.loops += 1
            raise CellUnavailable("the user is on the way to another cell")
        self.hints_followed += route.by_hint
        route.inherit_identity(refused)
        return route

    def check_followed(self, route: Route, status: int, body: bytes) -> None:
        """Raises `CellUnavailable` if the hint was wrong."""
        if hint_was_wrong(route, status, body):
            raise self.refuse_hint(route)

    def refuse_hint(self, route: Route) -> CellUnavailable:
        """The hint was wrong: the user's next request begins at the map again."""
        self._hints.forget(route.user_id)
        return CellUnavailable("the user is on the way to another cell")

    def _nobody_else(self, refused: Route, trail: Trail) -> CellUnavailable:
        self.loops += trail.redirects > 0
        if refused.by_hint:
            self._hints.forget(refused.user_id)
        return CellUnavailable("the user is on the way to another cell")


def hint_was_wrong(route: Route, status: int, body: bytes) -> bool:
    """Did a hinted cell answer that it has never heard of the user? That is no answer to the customer's request."""
    return route.by_hint and status == 404 and b'"USER_NOT_FOUND"' in body


def _says_later(route: Route, refused: Route) -> bool:
    """Does it know more than what was refused? A map without ownership epochs that names the refusing cell does not: it
    may be newer for any reason."""
    if route.cell is refused.cell and route.shard_map.ownership is None and not route.by_hint:
        return False
    return route.ownership_epoch > refused.ownership_epoch


def _read_hint(body: bytes, refused: Route) -> Hint | None:
    """The refusal's hint, if it is later than what was refused and names another cell."""
    said = decode_body(body, MisdirectedHint) or MisdirectedHint()
    if not said.owner or not refused.ownership_epoch < (said.epoch or 0) <= _EPOCH_MAX:
        return None
    hint = Hint(CellId(said.owner), Epoch(said.epoch or 0))
    return None if CellDestination(hint.cell_id) == refused.cell.destination else hint
