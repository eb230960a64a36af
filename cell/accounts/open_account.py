"""Accounts, passwords and refresh tokens. Only the router calls this, with a route token of the user concerned.

Passwords are hashed with argon2id at OWASP's parameters (19 MiB, two passes, one lane), in threads, at most two at
once: a rush of sign-ups must not take the cores or the memory from orders. A refresh token is
`<user>.<family>.<secret>`; the database keeps only the secret's hash.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cell import errors
from cell.accounts import queries
from cell.caller import Caller
from cell.ownership.guard import check_owner
from infra.runtime.clock import Clock, TimeOrderedIds
from infra.runtime.database import Pool
from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseRefused, call

HASHES_AT_ONCE: Final = 2
HASHES_WAITING_MAX: Final = 200
PASSWORD_BYTES_MAX: Final = 1_024
_REFRESH_TOKEN: Final = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


def wrong_credentials() -> Problem:
    return Problem(401, "TOKEN_INVALID", "email or password is wrong")


@dataclass(frozen=True, slots=True)
class Opened:
    created_at: datetime
    refresh_token: str


class Accounts:
    """Open accounts and keep their sessions."""

    def __init__(self, pool: Pool, *, profile: str, refresh_days: int, clock: Clock, new_id: TimeOrderedIds) -> None:
        self._pool = pool
        self._profile = profile
        self._refresh_for = timedelta(days=refresh_days)
        self._clock = clock
        self._new_id = new_id
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._hashes_waiting = 0

    async def open_account(self, caller: Caller, *, email: str, name: str | None, password: str) -> Opened:
        """Idempotent by user. Raises Problem 409 if the user exists with another address."""
        password_hash = await self._hash(password)
        arguments = [caller.user_id, caller.epoch, self._profile, email, name, password_hash]
        try:
            [(created_at, _)] = await call(self._pool, queries.OPEN, arguments)
        except DatabaseRefused as error:
            if error.sqlstate == "RB010":
                raise Problem(409, "USER_EXISTS", "the user exists with another e-mail address") from error
            if error.sqlstate == "RB011":
                raise errors.misdirected(None, None) from error
            raise
        return Opened(created_at, await self._start_session(caller.user_id))

    async def log_in(self, caller: Caller, *, password: str) -> str:
        """A refresh token for the right password. Raises Problem 401."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(queries.PASSWORD, [caller.user_id])).fetchone()
            await check_owner(connection, caller.user_id)
        if row is None or not await self._verify(str(row[0]), password):
            raise wrong_credentials()
        return await self._start_session(caller.user_id)

    async def refresh(self, caller: Caller, token: str, attempt: str | None = None) -> str:
        """The family's next refresh token; the shown one is spent. The same attempt gets the same one again, as long as
        that is not spent: `attempt` is random, and nobody but the router knows it. Raises Problem 401."""
        match = _REFRESH_TOKEN.fullmatch(token)
        if match is None or UUID(match[1]) != caller.user_id:
            raise Problem(401, "TOKEN_INVALID", "not a refresh token of this user")
        secret = secrets.token_urlsafe(32) if attempt is None else _next_secret(match[3], attempt)
        shown, new = _digest(match[3]), _digest(secret)
        arguments = [caller.user_id, UUID(match[2]), shown, new, self._clock.now()]
        [(outcome,)] = await call(self._pool, queries.REFRESH, arguments)
        match outcome:
            case "refreshed":
                return f"{match[1]}.{match[2]}.{secret}"
            case "DEPARTED":
                raise errors.misdirected(None, None)
            case "USER_HALTED":
                raise errors.user_halted(None)
            case "reused":
                raise Problem(
                    401, "TOKEN_INVALID", "this refresh token was used before, so its family ends; log in again"
                )
            case "expired":
                raise Problem(401, "TOKEN_EXPIRED", "the session has ended; log in again")
        raise Problem(401, "TOKEN_INVALID", "no such session; log in")

    async def _start_session(self, user_id: UUID) -> str:
        family, secret, now = self._new_id(), secrets.token_urlsafe(32), self._clock.now()
        try:
            await call(self._pool, queries.START, [user_id, family, _digest(secret), now, now + self._refresh_for])
        except DatabaseRefused as error:
            if error.sqlstate == "RB011":
                raise errors.misdirected(None, None) from error
            if error.sqlstate == "RB012":
                raise errors.user_halted(None) from error
            raise
        return f"{user_id.hex}.{family.hex}.{secret}"

    async def _hash(self, password: str) -> str:
        async with self._slot():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _verify(self, password_hash: str, password: str) -> bool:
        async with self._slot():
            try:
                return await asyncio.to_thread(self._hasher.verify, password_hash, password)
            except (VerificationError, InvalidHashError):
                return False

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._hashes_waiting >= HASHES_WAITING_MAX:
            raise errors.overloaded("too many sign-ups and logins are waiting; nothing was done")
        self._hashes_waiting += 1
        try:
            async with self._hashing:
                yield
        finally:
            self._hashes_waiting -= 1


def _next_secret(shown: str, attempt: str) -> str:
    """As random as both; neither gives it away without the other."""
    mac = hmac.digest(attempt.encode(), shown.encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
