"""Hash and verify passwords, away from orders: threads of their own at a lower priority, few at once, fairly queued.

argon2id at OWASP's parameters (19 MiB, two passes, one lane) takes some forty milliseconds of a core and leaves the
interpreter alone meanwhile. Who asks for nobody's password is verified against a hash that no password has, so that
an email that nobody has costs the same work, on the same way, as one that somebody has.
"""

import asyncio
import math
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cell import errors
from cell.accounts.fair_queue import FairQueue, HashPermit, QueueFull
from infra.runtime import deadline
from infra.runtime.telemetry import Metrics

HASHES_AT_ONCE: Final = 2
"""Per app server: two use one core between them when orders want the other, and take 38 MiB; a single one would let one
slow login stand in the way of all."""
WAITING_MAX: Final = 200
"""Four seconds of work, nearly as long as anybody waits; beyond that an answer would come too late."""
WAITING_PER_ACCOUNT_MAX: Final = 16
"""From one source: one person with all devices, or one sign-up that is sent again and again."""
NICE: Final = 10
"""Added to the process's own: a tenth of the processor time of an order's thread when both want the core."""

Result = TypeVar("Result")


class PasswordHashing:
    """One per app server."""

    def __init__(self, metrics: Metrics) -> None:
        # What OWASP recommends for Argon2id in the least memory: 19 MiB, two passes, one thread.
        self._argon2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._nobodys = self._argon2.hash(secrets.token_urlsafe(32))
        self._threads = ThreadPoolExecutor(HASHES_AT_ONCE, "password", initializer=_yield_to_orders)
        self._queue = FairQueue(
            permits=HASHES_AT_ONCE, waiting_max=WAITING_MAX, per_account_max=WAITING_PER_ACCOUNT_MAX
        )
        self._metrics = metrics

    @asynccontextmanager
    async def permit(self, account: Hashable, source: Hashable) -> AsyncIterator[HashPermit]:
        """The account for oneself and a permit to hash. Raises Problem 429 or 503 when too many wait, and `OutOfTime`
        when the caller's time ends before there is one."""
        left_s = deadline.left_s()
        try:
            async with self._queue.permit(account, source, within_s=None if left_s == math.inf else left_s) as permit:
                yield permit
        except QueueFull as full:
            self._metrics.counter("cell_logins_refused_total").labels("queue").inc()
            if full.of_account:
                raise errors.too_many_guesses(1) from full
            raise errors.overloaded("too many sign-ups and logins are waiting; nothing was done") from full

    def count_refused_guess(self) -> None:
        """A login was refused for too many guesses, before anything was hashed."""
        self._metrics.counter("cell_logins_refused_total").labels("guesses").inc()

    async def hash(self, password: str) -> str:
        """Only with a permit."""
        return await self._run("hash", lambda: self._argon2.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Only with a permit. None: nobody's, which no password matches."""
        wanted = self._nobodys if password_hash is None else password_hash
        return await self._run("verify", lambda: self._matches(wanted, password)) and password_hash is not None

    async def _run(self, operation: str, work: Callable[[], Result]) -> Result:
        self._metrics.counter("cell_passwords_hashed_total").labels(operation).inc()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _yield_to_orders() -> None:
    """Only Linux gives each thread a priority of its own; it begins with that of the thread that made it."""
    if sys.platform == "linux":
        mine = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, mine, min(19, os.getpriority(os.PRIO_PROCESS, mine) + NICE))
