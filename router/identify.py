"""Access token -> the user and the way to the user's cell, remembered until either changes.

A token is verified once; after that one dictionary look-up by the raw header value gives everything a request needs:
the cell and the signed head of the forwarded request. An entry ends with the access token, with its route token, with
the revocation of its user, with the map and with the keys it was made by, so nothing here can be staler than those.

A user's owner is what the newest map says, or what a cell said later (`hints.py`); the route token carries the
ownership epoch of whichever it is.
"""

from collections.abc import Callable, Collection
from uuid import UUID

from infra.security.customer_token import CustomerTokenExpired, CustomerTokenInvalid, CustomerTokenVerifier
from infra.security.keys import KeyRing, VerifyRing
from infra.security.route_token import RouteTokenSigner
from infra.topology.identifiers import CellId, Epoch, UserId
from infra.topology.shard_map import ShardMap
from router.errors import CellUnavailable, TokenExpired, TokenInvalid
from router.fleet import Fleet, Upstream
from router.hints import Hint, Hints
from router.limits import TokenBucket
from router.locate import locate_user

_ROUTE_TOKEN_MARGIN_S = 30
"""A route token is replaced so long before it expires: a cell's clock may be ahead, and a write may be held."""


class Route:
    """Where one user's requests go, and all that justifies it: one map or one hint, with the ownership epoch that it
    says; the ring that signed its route token, the ring that verified the access token, and when that was issued."""

    __slots__ = (
        "by_hint",
        "cell",
        "issued_at_s",
        "kid",
        "ownership_epoch",
        "shard_map",
        "signed_by",
        "token",
        "token_bucket",
        "user_id",
        "valid_until_s",
        "verified_by",
    )

    def __init__(
        self,
        user_id: UserId,
        cell: Upstream,
        token: bytes,
        shard_map: ShardMap,
        ownership_epoch: Epoch,
        signed_by: KeyRing,
        valid_until_s: float,
    ) -> None:
        self.user_id = user_id
        self.cell = cell
        self.token = token
        self.shard_map = shard_map
        self.ownership_epoch = ownership_epoch
        self.signed_by = signed_by
        self.verified_by: VerifyRing | None = None
        self.kid = ""
        self.issued_at_s = 0
        self.valid_until_s = valid_until_s
        self.by_hint = False
        self.token_bucket: TokenBucket | None = None

    def inherit_identity(self, other: "Route") -> None:
        """The same request goes here now instead of there: its access token was verified for both."""
        self.verified_by, self.kid, self.issued_at_s = other.verified_by, other.kid, other.issued_at_s


class Routes:
    """`current_map` gives the newest map; the cells of every map are in the fleet before it is the newest."""

    def __init__(
        self,
        *,
        verifier: CustomerTokenVerifier,
        signer: RouteTokenSigner,
        current_map: Callable[[], ShardMap | None],
        fleet: Fleet,
        hints: Hints,
        is_void: Callable[[UUID, int], bool] = lambda user_id, issued_at_s: False,
        route_token_ttl_s: int,
        cached_max: int,
        now: Callable[[], float],
    ) -> None:
        self._verifier = verifier
        self._signer = signer
        self._current_map = current_map
        self._fleet = fleet
        self._hints = hints
        self._is_void = is_void
        self._ttl_s = route_token_ttl_s
        self._cached_max = cached_max
        self._now = now
        self._routes: dict[bytes, Route] = {}
        self._rings = (verifier.ring, signer.ring)
        self.verified = 0

    def of_request(self, authorization: bytes) -> Route:
        """The route of a request by its `Authorization` header. Raises a `RouterRefusal`."""
        rings = self._rings
        if self._verifier.ring is not rings[0] or self._signer.ring is not rings[1]:
            self._follow_keys()
        route = self._routes.get(authorization)
        if route is not None and route.shard_map is self._current_map() and self._now() < route.valid_until_s:
            return route
        return self._identify(authorization)

    def is_current(self, route: Route) -> bool:
        """Would it be the same if it were made now: by this map or this hint, under these keys, of a user whose token
        stands."""
        hint = self._hints.ahead_of(route.shard_map, route.user_id)
        if hint is not None and hint.epoch > route.ownership_epoch:
            return False
        return (
            route.shard_map is self._current_map()
            and self._now() < route.valid_until_s
            and route.verified_by is self._verifier.ring
            and route.signed_by is self._signer.ring
            and not self._is_void(route.user_id, route.issued_at_s)
        )

    def forget(self, authorization: bytes) -> None:
        self._routes.pop(authorization, None)

    def _follow_keys(self) -> None:
        """Keys have changed: what was verified or signed by one that is gone must not live on here."""
        self._routes.clear()
        self._rings = (self._verifier.ring, self._signer.ring)

    def forget_users(self, user_ids: Collection[UUID]) -> None:
        """Their tokens have to be judged anew."""
        gone = [authorization for authorization, route in self._routes.items() if route.user_id in user_ids]
        for authorization in gone:
            del self._routes[authorization]

    def to_owner(self, user_id: UUID) -> Route:
        """A route by the newest map, or by a later hint. Raises CellUnavailable."""
        shard_map = self._current_map()
        if shard_map is None:
            raise CellUnavailable("this router has no shard map yet")
        hint = self._hints.ahead_of(shard_map, user_id)
        if hint is not None:
            return self.by_hint(user_id, hint)
        cell = locate_user(shard_map, user_id)
        if cell is None:
            raise CellUnavailable("no cell serves this user at the moment")
        return self.to_cell(user_id, cell.cell_id)

    def by_hint(self, user_id: UUID, hint: Hint) -> Route:
        """A route to whom another cell named as the owner. Raises CellUnavailable."""
        route = self.to_cell(user_id, hint.cell_id, hint.epoch)
        route.by_hint = True
        return route

    def to_cell(self, user_id: UUID, cell_id: CellId, ownership_epoch: Epoch | None = None) -> Route:
        """A route to a given cell; the cell itself decides whether the user is its own. `ownership_epoch`: by default
        the map's. Raises CellUnavailable."""
        shard_map = self._current_map()
        if shard_map is None or shard_map.cell(cell_id) is None:
            raise CellUnavailable("no cell serves this user at the moment")
        expires_at_s = int(self._now()) + self._ttl_s
        signed_by = self._signer.ring
        epoch = shard_map.ownership_epoch(user_id) if ownership_epoch is None else ownership_epoch
        token = self._signer.sign(user_id=user_id, cell_id=cell_id, epoch=epoch, expires_at_s=expires_at_s).encode()
        valid_until_s = expires_at_s - min(_ROUTE_TOKEN_MARGIN_S, self._ttl_s / 2)
        return Route(UserId(user_id), self._fleet.cell(cell_id), token, shard_map, epoch, signed_by, valid_until_s)

    def _identify(self, authorization: bytes) -> Route:
        scheme, _, blanks_and_token = authorization.partition(b" ")
        token = blanks_and_token.lstrip(b" ")
        if scheme.lower() != b"bearer":
            raise TokenInvalid("this call needs an access token: Authorization: Bearer ...")
        now_s = self._now()
        verified_by = self._verifier.ring
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
        route.verified_by, route.kid, route.issued_at_s = verified_by, claims.kid, claims.issued_at_s
        if len(authorization) == len(scheme) + 1 + len(token):  # with blanks it could be spelled in endless ways
            self._remember(authorization, route)
        return route

    def _remember(self, authorization: bytes, route: Route) -> None:
        routes = self._routes
        routes.pop(authorization, None)
        while len(routes) >= self._cached_max:
            del routes[next(iter(routes))]  # the oldest entry: verified longest ago, so nearest to its end
        routes[authorization] = route
