"""The control database as the router uses it: email claims by procedure, loads for placement. Never on the order path.

Each call opens what it needs from a small pool with a short wait; a dead database is `ControlUnavailable` after a
moment.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
import psycopg_pool

from infra.runtime.database import Pool
from router.errors import ControlUnavailable

_CLAIM: Final = "select outcome, email_hash, user_id, cell_id from claim_email_v1(%s, %s, %s, %s, %s)"
_ACTIVATE: Final = "select activate_email_claim_v1(%s, %s)"
_FREE: Final = "select free_email_claim_v1(%s, %s, make_interval(secs => %s))"
_FIND: Final = "select user_id, cell_id, state from find_email_claim_v1(%s)"
_PENDING: Final = (
    "select email_hash, user_id, cell_id, age_s from pending_email_claims_v1(make_interval(secs => %s), %s)"
)
_REVOCATIONS: Final = "select user_id, not_before_s from read_revocations_v1()"
_LOADS: Final = "select cell_id, users from cell_loads_v1()"

_UNAVAILABLE: Final = "sign-up and login by email are not possible at the moment"


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """`claimed`, `resumed`, `replayed`, `key_reused` or `email_taken`; of the first three the claim that stands."""

    outcome: str
    email_hash: bytes | None
    user_id: UUID | None
    cell_id: str | None


@dataclass(frozen=True, slots=True)
class EmailClaim:
    user_id: UUID
    cell_id: str
    state: str


@dataclass(frozen=True, slots=True)
class PendingClaim:
    email_hash: bytes
    user_id: UUID
    cell_id: str
    age_s: float


class ControlQueries:
    """Every call raises `ControlUnavailable` within `timeout_s`, and may be repeated."""

    def __init__(self, pool: Pool, *, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._running: set[asyncio.Task[list[tuple[Any, ...]]]] = set()

    async def claim_email(
        self, *, email_hashes: list[bytes], fingerprints: list[bytes], key: str, user_id: UUID, cell_id: str
    ) -> ClaimOutcome:
        """One fingerprint per hash; the claim is made under the first."""
        rows = await self._fetch(_CLAIM, [email_hashes, fingerprints, key, user_id, cell_id])
        return ClaimOutcome(*rows[0])

    async def activate_claim(self, email_hash: bytes, user_id: UUID) -> bool:
        return bool((await self._fetch(_ACTIVATE, [email_hash, user_id]))[0][0])

    async def free_claim(self, email_hash: bytes, user_id: UUID, *, age_s: float) -> bool:
        return bool((await self._fetch(_FREE, [email_hash, user_id, age_s]))[0][0])

    async def find_claim(self, email_hashes: list[bytes]) -> EmailClaim | None:
        rows = await self._fetch(_FIND, [email_hashes])
        return EmailClaim(*rows[0]) if rows else None

    async def pending_claims(self, *, age_s: float, limit: int) -> list[PendingClaim]:
        return [PendingClaim(*row) for row in await self._fetch(_PENDING, [age_s, limit])]

    async def cell_loads(self) -> dict[str, int]:
        return {str(cell_id): int(users) for cell_id, users in await self._fetch(_LOADS, [])}

    async def revocations(self) -> dict[UUID, int]:
        return {user_id: int(not_before_s) for user_id, not_before_s in await self._fetch(_REVOCATIONS, [])}

    async def _fetch(self, statement: LiteralString, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows, or `ControlUnavailable` in time. A server that hangs also hangs the driver's own cancellation
        for many seconds, so a late query is left to end by itself; the pool bounds how many there can be."""
        query = asyncio.create_task(self._fetch_again(statement, parameters))
        self._running.add(query)
        query.add_done_callback(self._forget)
        done, _ = await asyncio.wait({query}, timeout=self._timeout_s)
        if not done:
            query.cancel()
            raise ControlUnavailable(_UNAVAILABLE)
        try:
            return query.result()
        except (psycopg.Error, psycopg_pool.PoolClosed, psycopg_pool.TooManyRequests) as error:
            raise ControlUnavailable(_UNAVAILABLE) from error

    def _forget(self, query: "asyncio.Task[list[tuple[Any, ...]]]") -> None:
        self._running.discard(query)
        if not query.cancelled():
            query.exception()  # whoever still waited has seen it

    async def _fetch_again(self, statement: LiteralString, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return await self._fetch_once(statement, parameters)
        except psycopg_pool.PoolTimeout:
            raise
        except psycopg.OperationalError:
            # It broke under this call, and the pool has its sisters asked; every call here may be repeated.
            return await self._fetch_once(statement, parameters)

    async def _fetch_once(self, statement: LiteralString, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        async with self._pool.connection(timeout=self._timeout_s) as connection:
            return await (await connection.execute(statement, parameters)).fetchall()
