"""Login by email and password, and turning a refresh token over. The cell checks both; the router only finds it.

Login needs the control database (email -> user). Refreshing does not: the refresh token names its user, and its family
tells when the session began, so the session of a revoked user ends here, also while his cell has not been told yet.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from infra.runtime.problem import Problem
from infra.security.email_hash import EmailHasher
from infra.topology.identifiers import parse_uuid_hex
from router.cell_calls import CellCalls, passed_on, refresh_token_of
from router.queries import ControlQueries


@dataclass(frozen=True, slots=True)
class Session:
    user_id: UUID
    refresh_token: str


class LogIn:
    def __init__(
        self,
        queries: ControlQueries,
        calls: CellCalls,
        hasher: EmailHasher,
        *,
        is_void: Callable[[UUID, int], bool] = lambda user_id, begun_at_s: False,
        new_attempt: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self._new_attempt = new_attempt
        self._is_void = is_void
        self._queries = queries
        self._calls = calls
        self._hasher = hasher

    async def by_password(self, email: str, password: str, request_id: str) -> Session:
        claim = await self._queries.find_claim(self._hasher.hash(email))
        if claim is None or claim.state != "active":
            raise _wrong_password()
        return await self._ask(claim.user_id, "/internal/v1/sessions", {"password": password}, request_id)

    async def by_refresh_token(self, refresh_token: str, request_id: str) -> Session:
        user_id, begun_at_s = _read(refresh_token)
        if begun_at_s is not None and self._is_void(user_id, begun_at_s):
            raise Problem(401, "TOKEN_INVALID", "the session was revoked; log in again")
        # A second use of a refresh token ends the session, and `CellCalls` may have to ask twice: by the attempt the
        # cell knows that it is the same use.
        body = {"refresh_token": refresh_token, "attempt": self._new_attempt()}
        return await self._ask(user_id, "/internal/v1/sessions/refresh", body, request_id)

    async def _ask(self, user_id: UUID, path: str, body: dict[str, str], request_id: str) -> Session:
        answer = await self._calls.post(user_id, path, body, request_id=request_id)
        if answer.status == 200:
            return Session(user_id, refresh_token_of(answer))
        if answer.status == 404:
            raise _wrong_password()
        raise passed_on(answer)


def _read(refresh_token: str) -> tuple[UUID, int | None]:
    """Whose it is, and the second in which its session began: `<user>.<family>.<secret>`, families are UUIDs of
    version 7. The cell judges the rest."""
    user, _, rest = refresh_token.partition(".")
    try:
        user_id = parse_uuid_hex(user)
    except ValueError:
        raise Problem(401, "TOKEN_INVALID", "the refresh token is not ours") from None
    try:
        family = parse_uuid_hex(rest.partition(".")[0])
    except ValueError:
        return user_id, None
    return user_id, (family.int >> 80) // 1000 if family.version == 7 else None


def _wrong_password() -> Problem:
    return Problem(401, "TOKEN_INVALID", "email or password is wrong")
