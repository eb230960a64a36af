"""Lead while nobody else does: hold the lease, and while it is held execute what was asked for.

The lease is renewed long before it ends. If that fails until its end, everything that runs under it is cancelled at
once; whatever is written after that is refused by its number. Nothing is handed over and nothing is cleaned up: the
next leader, perhaps this very process under a new number, reads what was persisted and goes on.
The time of a lease is the database's. This process measures only how long ago it asked, so it stops early, never late.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from infra.runtime.procedures import DatabaseFailure
from infra.runtime.shutdown import Shutdown
from shardctl.operations.errors import LeaseLost
from shardctl.operations.queries import Operations

_log = logging.getLogger(__name__)
_RETRY_S: Final = 1.0
"""Between two attempts to lead; so long does a hand-over take beyond the end of the lease."""

Duty = Callable[[int], Awaitable[None]]
"""What a leader does, for ever, under the lease of that number; cancelled when the lease is lost."""


class Leader:
    def __init__(
        self,
        operations: Operations,
        duties: Sequence[Duty],
        *,
        holder: str,
        life_s: float,
        renewed_each_s: float,
        on_change: Callable[[int | None], None],
    ) -> None:
        """`on_change` is told the number of a new lease, and None when it is over."""
        self._operations = operations
        self._duties = duties
        self._holder = holder
        self._life_s = life_s
        self._renewed_each_s = renewed_each_s
        self._on_change = on_change
        self.lease: int | None = None

    async def run(self, shutdown: Shutdown) -> None:
        """Until the end is asked for; gives the lease back then."""
        while not shutdown.asked:
            # Before the question: the lease began at the latest when it was answered, so ours ends first.
            asked_at = asyncio.get_running_loop().time()
            try:
                lease = await self._operations.acquire_lease(self._holder, self._life_s)
            except DatabaseFailure as error:
                _log.warning("cannot ask who leads", exc_info=error)
                lease = None
            if lease is None:
                await shutdown.sleep(_RETRY_S)
                continue
            await self._lead(lease, asked_at, shutdown)

    async def _lead(self, lease: int, asked_at: float, shutdown: Shutdown) -> None:
        self.lease = lease
        self._on_change(lease)
        _log.info("leads", extra={"lease": lease})
        work = [asyncio.create_task(self._renew(lease, asked_at), name="lease")]
        work += [asyncio.ensure_future(duty(lease)) for duty in self._duties]
        end = asyncio.create_task(shutdown.wait(), name="shutdown")
        try:
            done, _ = await asyncio.wait([*work, end], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {end}:
                if not isinstance(task.exception(), LeaseLost):
                    _log.error("a duty ended", exc_info=task.exception(), extra={"lease": lease})
        finally:
            for task in (*work, end):
                task.cancel()
            await asyncio.gather(*work, end, return_exceptions=True)
            self.lease = None
            self._on_change(None)
            await self._give_back(lease)

    async def _renew(self, lease: int, asked_at: float) -> None:
        """Raises LeaseLost: refused, or its end has come without an answer."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._renewed_each_s, max(0.0, asked_at + self._life_s - loop.time())))
            begun = loop.time()
            try:
                async with asyncio.timeout_at(asked_at + self._life_s):
                    await self._operations.renew_lease(lease, self._life_s)
                asked_at = begun
            except (DatabaseFailure, TimeoutError) as error:
                _log.warning("the lease was not renewed", exc_info=error, extra={"lease": lease})
                # By our clock it is over, whatever the database thinks: what we do from here on could meet another's.
                if loop.time() >= asked_at + self._life_s:
                    raise LeaseLost(f"lease {lease} was not renewed in time") from error
                await asyncio.sleep(min(_RETRY_S, self._renewed_each_s))

    async def _give_back(self, lease: int) -> None:
        try:
            await self._operations.release_lease(lease)
        except DatabaseFailure as error:
            _log.warning("the lease was not given back; it ends by itself", exc_info=error, extra={"lease": lease})
