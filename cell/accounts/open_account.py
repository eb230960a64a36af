"""Accounts, passwords and refresh tokens. Only the router calls this, with a route token of the user concerned.

Whoever asks for a password to be checked is admitted first: guesses are counted in the database, per account and
source, so neither another app server nor a restart gives new ones. An account that does not exist is treated alike in
everything, counting included, and its caller learns nothing but that email or password is wrong.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cell import errors
from cell.accounts import queries
from cell.accounts.hashing import PasswordHashing
from cell.accounts.refresh_token import FAMILY_KEY_BYTES, RefreshToken
from cell.caller import Caller
from cell.ownership.guard import check_owner
from infra.runtime.clock import Clock, TimeOrderedIds
from infra.runtime.database import Pool
from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseRefused, call, call_when_free
from infra.security.password_form import normal_password


@dataclass(frozen=True, slots=True)
class Opened:
    created_at: datetime
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    refresh_token: str
    first_used_at: datetime
    """When the shown token was used for the first time, by the database's clock: the same for every repeat."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a login comes from, as the router sees it; None of both: it did not say."""

    address: str | None = None
    refresh_token: str | None = None
    """Any that was ever given out for the account: the device that shows one has logged in before."""


@dataclass(frozen=True, slots=True)
class _Proven:
    """A right password, where it came from, and the hash that should take the place of the stored one, if any."""

    source: bytes
    was_stranger: bool
    new_hash: str | None = None


class Accounts:
    """Open accounts and keep their sessions."""

    def __init__(
        self,
        pool: Pool,
        hashing: PasswordHashing,
        *,
        profile: str,
        refresh_days: int,
        clock: Clock,
        new_id: TimeOrderedIds,
    ) -> None:
        self._pool = pool
        self._hashing = hashing
        self._profile = profile
        self._refresh_for = timedelta(days=refresh_days)
        self._clock = clock
        self._new_id = new_id

    async def open_account(
        self, caller: Caller, *, email: str, name: str | None, password: str, source: Source
    ) -> Opened:
        """Idempotent by user: whoever finds the account made proves its password, so two passwords are never both
        taken. Raises Problem 409 if the user exists with another address, 422 with another password,
        429; DatabaseFailure."""
        stored = await self._stored_hash(caller.user_id)
        password_hash = stored or await self._hash(caller.user_id, source, password)
        arguments = [caller.user_id, caller.epoch, self._profile, email, name, password_hash]
        try:
            [(created_at, existed)] = await call(self._pool, queries.OPEN, arguments)
        except DatabaseRefused as error:
            if error.sqlstate == "RB010":
                raise Problem(409, "USER_EXISTS", "the user exists with another e-mail address") from error
            if error.sqlstate == "RB011":
                raise await self._elsewhere(caller.user_id) from error
            raise
        # Made by an earlier try, perhaps with another password: only who proves that one gets a session.
        if existed:
            token = await self._log_in(caller, password, source)
            if token is None:
                raise Problem(422, "IDEMPOTENCY_KEY_REUSED", "this idempotency key was used for another sign-up")
            return Opened(created_at, token)
        proven = _Proven(_source_key(caller.user_id, source.address), was_stranger=False)
        return Opened(created_at, await self._start_session(caller.user_id, proven))

    async def log_in(self, caller: Caller, *, password: str, source: Source) -> str:
        """A refresh token for the right password. Raises Problem 401; 429 for too many guesses."""
        token = await self._log_in(caller, password, source)
        if token is None:
            raise Problem(401, "TOKEN_INVALID", "email or password is wrong")
        return token

    async def refresh(self, caller: Caller, text: str) -> Refreshed:
        """The family's next refresh token; the shown one is spent, and gives the same one for ten seconds more. Raises
        Problem 401, DatabaseFailure."""
        shown = RefreshToken.read(text)
        if shown is None or shown.user_id != caller.user_id:
            raise Problem(401, "TOKEN_INVALID", "not a refresh token of this user")
        family_key = await self._family_key(shown)
        following = shown.next(family_key)
        arguments = [
            caller.user_id, shown.family_id, shown.digest, following.digest, shown.is_marked(family_key)
        ]  # fmt: skip
        [(outcome, first_used_at)] = await call_when_free(self._pool, queries.REFRESH, arguments)
        match outcome:
            case "refreshed":
                return Refreshed(str(following), first_used_at)
            case "DEPARTED":
                raise await self._elsewhere(caller.user_id)
            case "USER_HALTED":
                raise errors.user_halted(None)
            case "reused":
                raise Problem(
                    401, "TOKEN_INVALID", "this refresh token was used before, so its family ends; log in again"
                )
            case "expired":
                raise Problem(401, "TOKEN_EXPIRED", "the session has ended; log in again")
        raise Problem(401, "TOKEN_INVALID", "no such session; log in")

    async def _log_in(self, caller: Caller, password: str, source: Source) -> str | None:
        """None: the password is wrong, or nobody's. The session begins while the account is still ours alone, so the
        guess is given back before the next is counted; others may hash meanwhile."""
        async with self._hashing.permit(caller.user_id, source.address) as permit:
            proven = await self._prove(caller, password, source)
            permit.release()
            return None if proven is None else await self._start_session(caller.user_id, proven)

    async def _prove(self, caller: Caller, password: str, source: Source) -> _Proven | None:
        """Known account or not: the same calls and the same hashing."""
        key, is_vouched = await self._source(caller.user_id, source)
        [(wait_s, is_stranger)] = await call(self._pool, queries.ADMIT_LOGIN, [caller.user_id, key, is_vouched])
        if wait_s is not None:
            self._hashing.count_refused_guess()
            raise errors.too_many_guesses(wait_s)
        async with self._pool.connection() as connection:
            row = await (await connection.execute(queries.PASSWORD, [caller.user_id])).fetchone()
            try:
                await check_owner(connection, caller.user_id)
            except Problem as refusal:
                # An account that does not exist takes the same way on, so that the answer says nothing of it.
                if refusal.status != 404:
                    raise
        stored = None if row is None else str(row[0])
        normal = normal_password(password)
        if await self._hashing.verify(stored, normal):
            return _Proven(key, is_stranger)
        # Hashes from before passwords had a normal form are of what was typed.
        if normal != password and await self._hashing.verify(stored, password):
            return _Proven(key, is_stranger, await self._hashing.hash(normal))
        return None

    async def _source(self, user_id: UUID, source: Source) -> tuple[bytes, bool]:
        """The key under which its guesses are counted, and whether a refresh token vouches for it."""
        token = None if source.refresh_token is None else RefreshToken.read(source.refresh_token)
        # Any token that its family ever gave out, also a spent one; a made-up one has no mark.
        if token is not None and token.user_id == user_id and token.is_marked(await self._family_key(token)):
            return _source_key(user_id, token.family_id.hex), True
        return _source_key(user_id, source.address), False

    async def _family_key(self, token: RefreshToken) -> bytes:
        """A new one if there is no such family: then nothing is marked by it."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(queries.FAMILY_KEY, [token.user_id, token.family_id])
            row = await cursor.fetchone()
        return secrets.token_bytes(FAMILY_KEY_BYTES) if row is None else bytes(row[0])

    async def _stored_hash(self, user_id: UUID) -> str | None:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(queries.PASSWORD, [user_id])).fetchone()
        return None if row is None else str(row[0])

    async def _hash(self, user_id: UUID, source: Source, password: str) -> str:
        async with self._hashing.permit(user_id, source.address):
            return await self._hashing.hash(normal_password(password))

    async def _elsewhere(self, user_id: UUID) -> Problem:
        """Why the user is not here, with the hint where they are."""
        async with self._pool.connection() as connection:
            try:
                await check_owner(connection, user_id)
            except Problem as problem:
                return problem
        return errors.misdirected(None, None)  # they came back meanwhile: the next try finds them

    async def _start_session(self, user_id: UUID, proven: _Proven) -> str:
        family_key = secrets.token_bytes(FAMILY_KEY_BYTES)
        token = RefreshToken.first(user_id, self._new_id(), family_key)
        arguments = [
            user_id,
            token.family_id,
            family_key,
            token.digest,
            self._refresh_for,
            proven.source,
            proven.was_stranger,
            proven.new_hash,
        ]
        try:
            await call_when_free(self._pool, queries.START, arguments)
        except DatabaseRefused as error:
            if error.sqlstate == "RB011":
                raise await self._elsewhere(user_id) from error
            if error.sqlstate == "RB012":
                raise errors.user_halted(None) from error
            raise
        return str(token)


def _source_key(user_id: UUID, source: str | None) -> bytes:
    """Tells the sources of one account apart, and nothing about two accounts."""
    return hashlib.blake2b(user_id.bytes + (source or "").encode(), digest_size=16).digest()
