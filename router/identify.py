"""Access token -> the user and the way to his cell, remembered until either changes.

A token is verified once; after that one dictionary look-up by the raw header value gives everything a request needs:
the cell and the signed head of the forwarded request. An entry ends with the access token, with its route token, and
with the map it was made by, so nothing here can be staler than the map in memory.
"""

from collections.abc import Callable, Collection
from uuid import UUID

from infra.security.customer_token import CustomerTokenExpired, CustomerTokenInvalid, CustomerTokenVerifier
from infra.security.route_token import RouteTokenSigner
from infra.topology.identifiers import CellId, UserId
from infra.topology.shard_map import ShardMap
from router.errors import CellUnavailable, TokenExpired, TokenInvalid
from router.fleet import CellUpstream, Fleet
from router.limits import Bucket
from router.locate import locate_user

_ROUTE_TOKEN_MARGIN_S = 30


class Route:
    """Where one user's requests go, by one map."""

    __slots__ = ("bucket", "by_hint", "cell", "shard_map", "token", "user_id", "valid_until_s")

    def __init__(
        self, user_id: UserId, cell: CellUpstream, token: bytes, shard_map: ShardMap, valid_until_s: float
    ) -> None:
        self.user_id = user_id
        self.cell = cell
        self.token = token
        self.shard_map = shard_map
        self.valid_until_s = valid_until_s
        self.by_hint = False
        self.bucket: Bucket | None = None


class Routes:
    """`current_map` gives the newest map; the cells of every map are in the fleet before it is the newest."""

    def __init__(
        self,
        *,
        verifier: CustomerTokenVerifier,
        signer: RouteTokenSigner,
        current_map: Callable[[], ShardMap | None],
        fleet: Fleet,
        is_void: Callable[[UUID, int], bool] = lambda user_id, issued_at_s: False,
        route_token_ttl_s: int,
        cached_max: int,
        now: Callable[[], float],
    ) -> None:
        self._verifier = verifier
        self._signer = signer
        self._current_map = current_map
        self._fleet = fleet
        self._is_void = is_void
        self._ttl_s = route_token_ttl_s
        self._cached_max = cached_max
        self._now = now
        self._routes: dict[bytes, Route] = {}
        self.verified = 0

    def of_request(self, authorization: bytes) -> Route:
        """The route of a request by its `Authorization` header. Raises a `RouterRefusal`."""
        route = self._routes.get(authorization)
        if route is not None and route.shard_map is self._current_map() and self._now() < route.valid_until_s:
            return route
        return self._identify(authorization)

    def is_current(self, route: Route) -> bool:
        """Made by the newest map, and not about to end."""
        return route.shard_map is self._current_map() and self._now() < route.valid_until_s

    def forget(self, authorization: bytes) -> None:
        self._routes.pop(authorization, None)

    def forget_all(self) -> None:
        """Keys have changed: what was verified or signed by one that is gone must not live on here."""
        self._routes.clear()

    def forget_users(self, user_ids: Collection[UUID]) -> None:
        """Their tokens have to be judged anew."""
        gone = [authorization for authorization, route in self._routes.items() if route.user_id in user_ids]
        for authorization in gone:
            del self._routes[authorization]

    def to_owner(self, user_id: UUID) -> Route:
        """A route by the newest map."""
        shard_map = self._current_map()
        if shard_map is None:
            raise CellUnavailable("this router has no shard map yet")
        cell = locate_user(shard_map, user_id)
        if cell is None:
            raise CellUnavailable("no cell serves this user at the moment")
        return self.to_cell(user_id, cell.cell_id)

    def to_cell(self, user_id: UUID, cell_id: CellId) -> Route:
        """A route to a given cell; the cell itself decides whether the user is its own."""
        shard_map = self._current_map()
        if shard_map is None or shard_map.cell(cell_id) is None:
            raise CellUnavailable("no cell serves this user at the moment")
        expires_at_s = int(self._now()) + self._ttl_s
        token = self._signer.sign(
            user_id=user_id, cell_id=cell_id, epoch=shard_map.epoch, expires_at_s=expires_at_s
        ).encode()
        valid_until_s = expires_at_s - min(_ROUTE_TOKEN_MARGIN_S, self._ttl_s / 2)
        return Route(UserId(user_id), self._fleet.cell(cell_id), token, shard_map, valid_until_s)

    def _identify(self, authorization: bytes) -> Route:
        scheme, _, blanks_and_token = authorization.partition(b" ")
        token = blanks_and_token.lstrip(b" ")
        if scheme.lower() != b"bearer":
            raise TokenInvalid("this call needs an access token: Authorization: Bearer ...")
        now_s = self._now()
        try:
            claims = self._verifier.verify(token.decode("ascii"), int(now_s))
        except CustomerTokenExpired as error:
            raise TokenExpired(str(error)) from error
        except (CustomerTokenInvalid, UnicodeDecodeError) as error:
            raise TokenInvalid("the access token is not ours") from error
        self.verified += 1
        if self._is_void(claims.user_id, claims.issued_at_s):
            raise TokenInvalid("the access token was revoked")
        route = self.to_owner(claims.user_id)
        route.valid_until_s = min(route.valid_until_s, claims.expires_at_s)
        if len(authorization) == len(scheme) + 1 + len(token):  # with blanks it could be spelled in endless ways
            self._remember(authorization, route)
        return route

    def _remember(self, authorization: bytes, route: Route) -> None:
        routes = self._routes
        routes.pop(authorization, None)
        while len(routes) >= self._cached_max:
            del routes[next(iter(routes))]  # the oldest entry: verified longest ago, so nearest to its end
        routes[authorization] = route
