"""The router's word to a cell: this request is of this user, for you, by a map of this epoch, until then.

A cell accepts customer traffic only with such a token, so nobody who merely reaches a cell's port becomes a customer.
It says who asks, never who owns: ownership is decided in the cell's database. It ends within `ROUTE_TOKEN_LIFE_MAX_S`,
whatever it says itself.
"""

import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from infra.security.keys import KeyRing, KeySource
from infra.security.lifetime import ROUTE_TOKEN_LIFE_MAX_S, LifeEnded, LifeInvalid, check_life
from infra.security.signed_text import SignedTextInvalid, sign_text, verify_text
from infra.topology.identifiers import CellId, Epoch, UserId

_PURPOSE: Final = b"route-token-v1:"
_PAYLOAD: Final = struct.Struct(">16sQQ")  # user, epoch, expiry; the cell's name follows


class RouteTokenInvalid(Exception):
    """Not a token of ours for this cell."""


class RouteTokenExpired(RouteTokenInvalid):
    """Was ours, is too old."""


@dataclass(frozen=True, slots=True)
class RouteClaims:
    user_id: UserId
    cell_id: CellId
    epoch: Epoch
    expires_at_s: int


class RouteTokenSigner:
    def __init__(self, ring: KeySource[KeyRing]) -> None:
        self._ring = ring

    @property
    def ring(self) -> KeyRing:
        """As it is now: what was signed by another one has to be signed again."""
        return self._ring.current()

    def sign(self, *, user_id: UUID, cell_id: str, epoch: int, expires_at_s: int) -> str:
        payload = _PAYLOAD.pack(user_id.bytes, epoch, expires_at_s) + cell_id.encode()
        return sign_text(self._ring, _PURPOSE, payload)


class RouteTokenVerifier:
    def __init__(self, ring: KeySource[KeyRing], *, cell_id: str) -> None:
        self._ring = ring
        self._cell_id = cell_id

    @property
    def ring(self) -> KeyRing:
        """As it is now: what was verified by another one has to be verified again."""
        return self._ring.current()

    def verify(self, token: str, now_s: int) -> RouteClaims:
        """User, cell and epoch, as a router stated them. Raises RouteTokenExpired or RouteTokenInvalid."""
        try:
            payload = verify_text(self._ring, _PURPOSE, token)
            user, epoch, expires_at_s = _PAYLOAD.unpack_from(payload)
            cell_id = payload[_PAYLOAD.size :].decode()
        except (SignedTextInvalid, struct.error, UnicodeDecodeError) as error:
            raise RouteTokenInvalid("not a route token") from error
        if cell_id != self._cell_id:
            raise RouteTokenInvalid("route token is for another cell")
        try:
            check_life(now_s=now_s, life_max_s=ROUTE_TOKEN_LIFE_MAX_S, expires_at_s=expires_at_s)
        except LifeEnded as error:
            raise RouteTokenExpired("route token has expired") from error
        except LifeInvalid as error:
            raise RouteTokenInvalid(f"route token {error}") from error
        return RouteClaims(UserId(UUID(bytes=user)), CellId(cell_id), Epoch(epoch), expires_at_s)
