"""Whose password is looked at next: a few at a time, one per account, round robin over sources and their accounts.

Two hundred guesses at one email then wait for each other, and whoever logs in to another account goes between two of
them; one address with a thousand emails waits for itself in the same way. What waits is bounded: a source has few at
one account, and when the room is full, whoever has most waiting yields to whoever has less, so nobody fills it for
others. Knows neither passwords nor time; what a permit is used for is the caller's.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from infra.runtime.deadline import OutOfTime

Waiters = deque[asyncio.Future[None]]


class QueueFull(Exception):
    """Too many wait already, in all (`of_account` false) or from this source for this account. Nothing was done."""

    def __init__(self, *, of_account: bool) -> None:
        super().__init__("too many are waiting")
        self.of_account = of_account


class HashPermit:
    """One caller's permit to hash, and the account for itself."""

    def __init__(self, queue: "FairQueue", account: Hashable) -> None:
        self._queue = queue
        self._account = account
        self._holds_permit = True

    def release(self) -> None:
        """The rest needs no permit, but still nobody else may have the account."""
        if self._holds_permit:
            self._holds_permit = False
            self._queue._permit_free()

    def _end(self) -> None:
        self._queue._busy.discard(self._account)
        if self._holds_permit:
            self.release()
        else:
            self._queue._begin_next()


class FairQueue:
    """`permits`: holders at once. `waiting_max`: how many may wait in all; `per_account_max`: of one source for one
    account."""

    def __init__(self, *, permits: int, waiting_max: int, per_account_max: int) -> None:
        self._free = permits
        self._waiting_max = waiting_max
        self._per_account_max = per_account_max
        self._busy: set[Hashable] = set()
        self._sources: dict[Hashable, dict[Hashable, Waiters]] = {}
        """Who waits: source -> account -> in the order of arrival. Whoever is first of a dictionary is served next and
        goes to its end."""
        self.waiting = 0

    @asynccontextmanager
    async def permit(
        self, account: Hashable, source: Hashable, *, within_s: float | None = None
    ) -> AsyncIterator[HashPermit]:
        """Raises `QueueFull`, or `OutOfTime` if there is no permit within `within_s` seconds. Whoever is cancelled
        while waiting leaves the queue."""
        await self._wait(account, source, within_s)
        permit = HashPermit(self, account)
        try:
            yield permit
        finally:
            permit._end()

    async def _wait(self, account: Hashable, source: Hashable, within_s: float | None) -> None:
        if len(self._sources.get(source, {}).get(account, ())) >= self._per_account_max:
            raise QueueFull(of_account=True)
        if self.waiting >= self._waiting_max:
            self._make_room(source)
        mine = asyncio.get_running_loop().create_future()
        self._sources.setdefault(source, {}).setdefault(account, deque()).append(mine)
        self.waiting += 1
        self._begin_next()
        try:
            async with asyncio.timeout(within_s):
                await mine
        except TimeoutError as error:
            self._give_up(mine, account, source)
            raise OutOfTime("the caller waits no more") from error
        except asyncio.CancelledError:
            self._give_up(mine, account, source)
            raise

    def _make_room(self, source: Hashable) -> None:
        """The last of the longest queue yields to a source that has less waiting. Raises `QueueFull` if none has."""
        sizes = {known: sum(map(len, accounts.values())) for known, accounts in self._sources.items()}
        largest = max(sizes, key=lambda known: sizes[known])
        if sizes[largest] <= sizes.get(source, 0) + 1:
            raise QueueFull(of_account=False)
        accounts = self._sources[largest]
        account = max(accounts, key=lambda known: len(accounts[known]))
        last = accounts[account].pop()
        self._left(largest, account)
        if not last.done():
            last.set_exception(QueueFull(of_account=False))

    def _give_up(self, mine: asyncio.Future[None], account: Hashable, source: Hashable) -> None:
        if not mine.cancelled():  # the permit was given in the same moment
            HashPermit(self, account)._end()
        elif mine in (waiters := self._sources.get(source, {}).get(account, deque())):
            waiters.remove(mine)
            self._left(source, account)

    def _permit_free(self) -> None:
        self._free += 1
        self._begin_next()

    def _begin_next(self) -> None:
        while self._free and (found := self._next()) is not None:
            source, account = found
            accounts = self._sources.pop(source)
            waiters = accounts.pop(account)
            accounts[account] = waiters
            self._sources[source] = accounts
            mine = waiters.popleft()
            self._left(source, account)
            if mine.cancelled():
                continue
            self._free -= 1
            self._busy.add(account)
            mine.set_result(None)

    def _next(self) -> tuple[Hashable, Hashable] | None:
        for source, accounts in self._sources.items():
            for account in accounts:
                if account not in self._busy:
                    return source, account
        return None

    def _left(self, source: Hashable, account: Hashable) -> None:
        """One waits no more; what is empty is forgotten."""
        self.waiting -= 1
        accounts = self._sources[source]
        if not accounts[account]:
            del accounts[account]
            if not accounts:
                del self._sources[source]
