"""Only the router may bring a customer here, and only the database says whether the user is ours.

`RouteGuard` checks the router's token (a signature, no I/O); what it remembers of a token ends with the token and with
the key ring that it was checked by. `check_owner` turns the user's row into go on, 421, 503 or 404;
writes do the same inside their procedure, under the row's lock.
"""

from collections.abc import Callable
from typing import Final, LiteralString
from uuid import UUID

from cell import errors
from cell.caller import Caller
from infra.runtime.database import Connection
from infra.runtime.problem import Problem
from infra.security.keys import KeyRing, KeySource
from infra.security.route_token import RouteClaims, RouteTokenInvalid, RouteTokenVerifier

VERIFIED_MAX: Final = 20_000
"""Tokens remembered as verified, about 200 bytes each; a full cache starts again."""


class RouteGuard:
    """Checks route tokens; each token's signature is verified once by each key ring."""

    def __init__(self, ring: KeySource[KeyRing], cell_name: str, now: Callable[[], float]) -> None:
        """`now` is the time of day, in seconds since 1970."""
        self._now = now
        self._verifier = RouteTokenVerifier(ring, cell_id=cell_name)
        self._verified_by = self._verifier.ring
        self._verified: dict[str, tuple[Caller, int]] = {}

    def identify(self, token: str | None) -> Caller:
        """Who the router says is asking. Raises Problem 401."""
        now_s = int(self._now())
        if token is None:
            raise Problem(401, "TOKEN_INVALID", "this port takes customers from the router only")
        if self._verifier.ring is not self._verified_by:  # a key that was dropped must not live on in what it signed
            self._verified.clear()
            self._verified_by = self._verifier.ring
        known = self._verified.get(token)
        if known is not None and known[1] > now_s:
            return known[0]
        try:
            claims: RouteClaims = self._verifier.verify(token, now_s)
        except RouteTokenInvalid as error:
            raise Problem(401, "TOKEN_INVALID", str(error)) from error
        caller = Caller(claims.user_id, claims.epoch)
        if len(self._verified) >= VERIFIED_MAX:
            self._verified.clear()
        self._verified[token] = (caller, claims.expires_at_s)
        return caller

    def user_of(self, token: bytes | None) -> UUID | None:
        """Whose requests this one is counted with; nobody's if the token is no good."""
        try:
            return None if token is None else self.identify(token.decode("latin-1")).user_id
        except Problem:
            return None


_OWNER: LiteralString = "select owner_state, forward_cell, forward_epoch from brokerage.users where user_id = %s"


async def check_owner(connection: Connection, user_id: UUID) -> None:
    """Raises Problem unless this cell owns the user. Reads call it **after** their query: a user who is still ours
    then was ours when the query ran. A halted user may be read."""
    row = await (await connection.execute(_OWNER, [user_id])).fetchone()
    if row is None:
        raise errors.user_not_found()
    state, forward_cell, forward_epoch = row
    if state in ("departed", "arriving"):
        raise errors.misdirected(forward_cell, forward_epoch)


def as_they_know(problem: Problem, caller: Caller) -> Problem:
    """A refusal as it is said to this caller. Who comes with a later ownership epoch than a 421 hints at was sent here
    by the cell that the user is leaving: they wait until the user is here, instead of going back and forth."""
    epoch = problem.figures.get("epoch")
    if problem.status == 421 and isinstance(epoch, int) and caller.epoch > epoch:
        return errors.user_halted(None)
    return problem
