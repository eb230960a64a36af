"""Login by email and password, and turning a refresh token over. The cell checks both; the router only finds it.

Login needs the control database (email -> user). Refreshing does not: the refresh token names its user.
"""

import time
from dataclasses import dataclass
from uuid import UUID

from infra.runtime.problem import Problem
from infra.security.email_hash import EmailHasher
from router.cell_calls import CellCalls, passed_on
from router.queries import ControlQueries


@dataclass(frozen=True, slots=True)
class Session:
    user_id: UUID
    refresh_token: str


class LogIn:
    def __init__(self, queries: ControlQueries, calls: CellCalls, hasher: EmailHasher) -> None:
        self._queries = queries
        self._calls = calls
        self._hasher = hasher

    async def by_password(self, email: str, password: str, request_id: str) -> Session:
        claim = await self._queries.find_claim(self._hasher.hash(email))
        if claim is None or claim.state != "active":
            raise _wrong_password()
        return await self._ask(claim.user_id, "/internal/v1/sessions", {"password": password}, request_id)

    async def by_refresh_token(self, refresh_token: str, request_id: str) -> Session:
        user_id = _user_of(refresh_token)
        return await self._ask(user_id, "/internal/v1/sessions/refresh", {"refresh_token": refresh_token}, request_id)

    async def _ask(self, user_id: UUID, path: str, body: dict[str, str], request_id: str) -> Session:
        answer = await self._calls.post(user_id, path, body, now_s=time.time(), request_id=request_id)
        if answer.status == 200:
            return Session(user_id, str(answer.json()["refresh_token"]))
        if answer.status == 404:
            raise _wrong_password()
        raise passed_on(answer)


def _user_of(refresh_token: str) -> UUID:
    user, _, _ = refresh_token.partition(".")
    try:
        if len(user) != 32:
            raise ValueError
        return UUID(hex=user)
    except ValueError:
        raise Problem(401, "TOKEN_INVALID", "the refresh token is not ours") from None


def _wrong_password() -> Problem:
    return Problem(401, "TOKEN_INVALID", "email or password is wrong")
