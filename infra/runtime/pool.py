"""A pool of PostgreSQL connections that lends to who asks, fairly and never a dead one if it can be known.

Fair: a pool may have shares (`FairPermits`). Work for a user (`on_behalf_of`) then needs a permit of that user's share
first, so one user's requests wait for each other and the others' do not wait for them. Work for many users (a batch of
commands, a probe) needs none, and has what the permits leave of the pool. No connection in time, because all are lent,
is `PoolBusy`: the database is fine, and nothing was sent.

Dead ones: a server that ends or is restarted closes all its connections. So an idle connection with unread bytes is
not lent. One that breaks only in use may not be the only one (a firewall forgot them all), so all idle ones are asked
then, and lent only after they have answered. A server that was away is tried again as soon as
somebody needs a connection, not after the library's growing pauses.
"""

import asyncio
import math
import select
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests
from psycopg_pool.pool_async import AddConnection, MaintenanceTask

from infra.runtime import deadline, on_behalf
from infra.runtime.deadline import OutOfTime
from infra.runtime.fair_permits import FairPermits, NoPermit

Connection = AsyncConnection[TupleRow]
EXAMINE_S: Final = 1.0
"""A connection that does not answer a trivial question in that time is not worth keeping."""


class PoolBusy(PoolTimeout):
    """The connections are in use, by others or by the user's own requests: nothing was sent."""


class _LastReturnedFirst(deque[Connection]):
    """What psycopg_pool appends on return and pops from the left to lend: a queue there, a stack here."""

    append = deque.appendleft


class Pool(AsyncConnectionPool[Connection]):
    """Connections, lent to a request no longer than its budget lasts; the wait for one counts.

    The one that was returned last is lent first. A server process that has just run a statement has its plan and its
    catalog entries in the processor's caches; round robin, as in the library, wakes the coldest of all each time.

    `checked`: each connection is asked before it is lent, which costs a round trip.
    """

    _pool: deque[Connection]

    def __init__(
        self, *arguments: Any, shares: FairPermits | None = None, checked: bool = False, **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self._pool = _LastReturnedFirst()
        self._shares = shares
        self._checked = checked
        self._lent = 0
        self._examinations: set[asyncio.Task[None]] = set()
        self._later: deque[AddConnection] = deque()
        """Connections that could not be made, to be tried again after a pause."""

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:
        """Raises `PoolBusy`; `OutOfTime` when the budget ends, and the driver has cancelled the statement then."""
        left_s = deadline.left_s()
        user_id = None if self._shares is None else on_behalf.user_id()
        # Work for nobody in particular (a batch, a probe): no budget to watch, no share to wait for.
        if left_s == math.inf and user_id is None:
            async with super().connection(timeout) as connection:
                yield connection
            return
        if left_s <= 0:
            raise OutOfTime("the caller has stopped waiting")
        try:
            async with (
                asyncio.timeout(None if left_s == math.inf else left_s) as budget,
                self._share_of(user_id, timeout),
                super().connection(timeout) as connection,
            ):
                yield connection
        except TimeoutError as error:
            if budget.expired():
                raise OutOfTime("the caller has stopped waiting") from error
            raise

    @asynccontextmanager
    async def _share_of(self, user_id: UUID | None, timeout: float | None) -> AsyncIterator[None]:
        shares = self._shares
        if shares is None or user_id is None:
            yield
            return
        try:
            await shares.acquire(user_id, asyncio.timeout(self.timeout if timeout is None else timeout))
        except NoPermit as error:
            raise PoolBusy("the user's requests, or everybody's, have the connections that they may have") from error
        try:
            yield
        finally:
            shares.release(user_id)

    async def getconn(self, timeout: float | None = None) -> Connection:
        """One that answers. Raises PoolBusy if all are in use, PoolTimeout if the server gives none in time."""
        while True:
            if self._later and not self._pool:
                self.run_task(self._later.popleft())
            try:
                connection = await super().getconn(timeout)
            except (PoolTimeout, TooManyRequests) as error:
                # All are lent: ours are slow. Else the server gives no further one.
                if self._lent >= self.max_size:
                    raise PoolBusy("all connections are in use") from error
                raise
            self._lent += 1
            if not _has_news(connection) and (not self._checked or await self._answers(connection)):
                self._hurry()
                return connection
            await connection.close()
            await self.putconn(connection)

    async def putconn(self, conn: Connection) -> None:
        self._lent -= 1
        if conn.pgconn.transaction_status == TransactionStatus.UNKNOWN:
            self._examine_resting()
        await super().putconn(conn)

    async def close(self, timeout: float = 5.0) -> None:
        await super().close(timeout)
        if self._examinations:
            await asyncio.wait(self._examinations, timeout=EXAMINE_S)

    # After a connection was found broken: the idle ones beside it.

    def _examine_resting(self) -> None:
        resting = list(self._pool)
        self._pool.clear()
        for connection in resting:
            task = asyncio.create_task(self._examine(connection))
            self._examinations.add(task)
            task.add_done_callback(self._examinations.discard)

    async def _examine(self, connection: Connection) -> None:
        if not _has_news(connection) and await self._answers(connection):
            await self._add_to_pool(connection)
        else:
            self.run_task(AddConnection(self))
            await connection.close()

    async def ask_one(self, within_s: float) -> bool:
        """Borrow a connection and ask it; one that does not answer is closed, and the other idle ones are asked."""
        async with self.connection(timeout=within_s) as connection:
            return await self._answers(connection, within_s)

    @staticmethod
    async def _answers(connection: Connection, within_s: float = EXAMINE_S) -> bool:
        asking = asyncio.create_task(connection.execute("select 1"))
        done, _ = await asyncio.wait({asking}, timeout=within_s)
        if not done:
            connection.pgconn.finish()  # not cancelled: where the question is lost, so is that it was called off
            await asyncio.wait({asking}, timeout=EXAMINE_S)
        return asking.done() and not asking.cancelled() and asking.exception() is None

    # A server that was away.

    async def schedule_task(self, task: MaintenanceTask, delay: float) -> None:
        """The library pauses for one second, two, four. Whoever comes for a connection meanwhile ends the pause."""
        if not isinstance(task, AddConnection):
            await super().schedule_task(task, delay)
            return
        self._later.append(task)
        await self._sched.enter(delay, partial(self._try_again, task))

    async def _try_again(self, task: AddConnection) -> None:
        if task in self._later:
            self._later.remove(task)
            self.run_task(task)

    def _hurry(self) -> None:
        """The server is there."""
        while self._later:
            self.run_task(self._later.popleft())


def _has_news(connection: Connection) -> bool:
    """It rests, and the server has said something: that it closes, nearly always. One system call."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
