"""Commands -> set-based procedure calls.

Every write of a customer is a `Command`. A batch takes what queued during the last call (at most `batch_max`, of one
kind, **at most one per user**) and makes one procedure call of it; each command gets its own outcome. There is no
timer: an idle process sends a single command at once, and a second call starts only for as many commands as are worth
one (`SECOND_CALL_MIN`), so a busy process sends few full batches instead of many of one.

Order: one user's commands run one after another in arrival order, and a command behaves as if it had been sent alone.
Between users nothing is promised, and kinds go round robin: the next batch is of the kind that was sent longest ago, so
a flood of one kind holds up nobody who sends another. A connection that is not free in time is no failure: the
commands wait on.

Under failure:
- A user whose row another writer holds is not waited for: the command is deferred to the next batch. After three such
  tries it is sent isolated and waits a short `lock_timeout`, again and again until its deadline; one isolated call is
  in flight at most, beside the others.
- A call that the database refuses is run again one command at a time, so only the poison command fails; a user who
  sends two of them has all commands isolated from then on.
- A connection lost around COMMIT is answered by sending the same commands with the same keys again, which is harmless,
  until the deadline.
- The queue is bounded; beyond it the answer is OVERLOADED.

A command is answered at its deadline, the caller's or ours, whichever is first: OUTCOME_UNKNOWN if it is at the
database or was lost there, never a guess; else it is certainly not done, the answer says so, and it is never sent. So
that the answer is rarely unknown, nothing begins to wait for a lock that it has no time left to wait for.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from cell import errors
from cell.commands.command import Command, CommandKind, Outcome, Procedure, bind
from cell.commands.lanes import Batch, Lanes, Pending, not_reached, user_busy
from cell.order_log import EVERY_HUNDREDTH, OrderLog
from infra.runtime import deadline
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.logs import id_fields, request_ids
from infra.runtime.problem import Problem
from infra.runtime.procedures import (
    ConnectionsTaken,
    DatabaseAway,
    DatabaseBusy,
    DatabaseFailure,
    DatabaseRefused,
    call_on,
    connected,
)
from infra.runtime.telemetry import Metrics

_log = logging.getLogger(__name__)

TRIES_WITHOUT_WAITING: Final = 3
"""Deferrals of a command before it waits for its user's lock: most other writers are done within one batch."""
SECOND_CALL_MIN: Final = 16
"""A call costs the database as much as its first dozen commands; below that, waiting for the call in flight is
cheaper than a call of one's own, and the wait is shorter than the call."""
LOCK_WAITS_LEFT_MIN: Final = 1.5
"""Lock waits that must fit into a command's time left before it waits for one: the wait, and half of it for the answer
to come."""
POISON_USERS_MAX: Final = 1_024
"""Users remembered for their poison commands; a full memory starts again, and costs each of them one batch more."""
CONNECTION_WAIT_S: Final = 1.0
"""For a free connection, before the commands go back into their lanes: new ones may join them there."""
RETRY_PAUSE_S: Final = 0.05
"""After a lost or missing connection: short beside a command's deadline, long enough not to spin."""
_OF_ORDERS: Final = (CommandKind.PLACE, CommandKind.CANCEL, CommandKind.REPLACE)
"""Commands whose outcome's resource is an order: they leave lines of it."""


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    batch_max: int
    calls_max: int
    queue_max: int
    user_queue_max: int
    command_deadline_s: float
    lock_wait_s: float = 0.2
    """How long the database lets an isolated command wait for its user's lock."""


class Batcher:
    """The one way in for customers' writes of this process. Open with `async with`."""

    def __init__(
        self,
        pool: Pool,
        calls: Mapping[CommandKind, Procedure],
        limits: BatcherLimits,
        *,
        clock: Clock | None = None,
        metrics: Metrics,
        faults: FaultPoints,
        order_log: OrderLog = EVERY_HUNDREDTH,
    ) -> None:
        """`clock` says which session of the market it is; without one the database's own does, read under the locks, so
        that app servers whose clocks differ agree."""
        self._pool = pool
        self._calls = calls
        self._limits = limits
        self._clock = clock
        self._faults = faults
        self._order_log = order_log
        self._lanes = Lanes()
        self._poison_counts: dict[UUID, int] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._calls_in_flight = {False: 0, True: 0}  # calls by whether they are isolated
        self._senders: list[asyncio.Task[None]] = []
        self._waiting = metrics.gauge("cell_commands_waiting")
        self._batch_commands = {k: metrics.histogram("cell_batch_commands").labels(k) for k in CommandKind}
        self._batch_seconds = {k: metrics.histogram("cell_batch_seconds").labels(k) for k in CommandKind}
        self._deferred = {k: metrics.counter("cell_commands_deferred_total").labels(k) for k in CommandKind}
        self._split = {k: metrics.counter("cell_batches_split_total").labels(k) for k in CommandKind}
        self._resent = {k: metrics.counter("cell_batches_resent_total").labels(k) for k in CommandKind}
        self._unconnected = {k: metrics.counter("cell_batches_unconnected_total").labels(k) for k in CommandKind}
        self._answered = metrics.counter("cell_commands_total")
        self._replayed = metrics.counter("cell_commands_replayed_total")

    async def __aenter__(self) -> "Batcher":
        self._senders = [
            asyncio.create_task(self._send_batches(), name=f"batch-sender-{number}")
            for number in range(self._limits.calls_max)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer what is queued, then end."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._senders)

    @property
    def waiting(self) -> int:
        return self._lanes.count

    def procedure(self, kind: CommandKind) -> Procedure:
        return self._calls[kind]

    def submit(self, command: Command) -> asyncio.Future[Outcome]:
        """Queue a command. The future has its outcome, or raises a Problem. Raises Problem OVERLOADED when full, or
        when the caller has no time left."""
        if self._closing or self._lanes.count >= self._limits.queue_max:
            raise errors.overloaded("too many commands are waiting in this cell; nothing was done")
        lane = self._lanes.by_user.get(command.user_id)
        if lane is not None and len(lane) >= self._limits.user_queue_max:
            raise errors.overloaded("too many commands of this account are waiting; nothing was done")
        within_s = min(self._limits.command_deadline_s, deadline.left_s())
        if within_s <= 0:
            raise not_reached()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        timer = loop.call_later(within_s, lambda: self._give_up(pending))
        pending: Pending = Pending(command, answer, timer, request_ids())
        self._lanes.add(pending)
        self._wake.set()
        return answer

    async def _send_batches(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                if self._closing and not self._lanes.count:
                    return
                self._wake.clear()
                if self._closing:
                    await asyncio.sleep(0.005)  # a call in flight still holds the last heads
                else:
                    await self._wake.wait()
                    await asyncio.sleep(0)  # whatever the loop has read from sockets in this round goes together
                continue
            self._waiting.set(self._lanes.count)
            self._calls_in_flight[batch.is_isolated] += 1
            try:
                await self._run(batch)
            except Exception as error:  # our own mistake must not end the loop and strand every later command
                _log.exception("a batch failed")
                for pending in batch.pending:
                    if pending.in_batch:
                        self._fail(pending, error)
            finally:
                self._calls_in_flight[batch.is_isolated] -= 1
                self._wake.set()

    def _next(self) -> Batch | None:
        batch = None
        if not self._calls_in_flight[True]:
            batch = self._lanes.take_isolated()
        if batch is None and (not self._calls_in_flight[False] or self._lanes.free >= SECOND_CALL_MIN):
            batch = self._lanes.take_together(self._limits.batch_max, self._poison_counts)
        if batch is None and not self._calls_in_flight[True]:
            batch = self._lanes.take_isolated()  # a poison user's, found among the others
        return batch

    async def _run(self, batch: Batch) -> None:
        """One call, and what follows from each way it can end."""
        self._batch_commands[batch.kind].observe(len(batch.pending))
        began = time.perf_counter()
        try:
            rows = await self._call(batch)
        except DatabaseBusy:
            self._busy(batch)
            return
        except ConnectionsTaken:
            await self._wait(batch, not_reached)
            return
        except DatabaseAway as error:
            await self._resend(batch, error)
            return
        except DatabaseFailure as error:
            await self._isolate(batch, error)
            return
        self._batch_seconds[batch.kind].observe(time.perf_counter() - began)
        for ordinal, *rest in rows:
            self._land(batch.pending[ordinal - 1], Outcome(*rest))

    async def _call(self, batch: Batch) -> Sequence[tuple[Any, ...]]:
        procedure = self._calls[batch.kind]
        await self._faults.reach("batch.before_call")
        async with connected(self._pool, within_s=CONNECTION_WAIT_S) as connection:
            self._leave_behind(batch)
            if not batch.pending:
                return []
            commands = [pending.command for pending in batch.pending]
            market_at = None if self._clock is None else self._clock.now()
            requests = [pending.request for pending in batch.pending]
            parameters = bind(procedure, commands, requests, at=market_at, wait=batch.is_isolated)
            batch.sent = True
            for pending in batch.pending:
                pending.if_late = errors.outcome_unknown
            rows = await call_on(connection, procedure.sql, parameters)
        await self._faults.reach("batch.after_commit")
        return rows

    def _leave_behind(self, batch: Batch) -> None:
        """Nobody waits for these any more, or will when their lock wait ends; and nothing of them is on its way."""
        now_s = asyncio.get_running_loop().time()
        for pending in batch.pending:
            if batch.is_isolated and pending.timer.when() - now_s < LOCK_WAITS_LEFT_MIN * self._limits.lock_wait_s:
                self._refuse(pending, pending.if_late())
            if pending.answer.done():
                self._finish(pending)
        batch.pending = [pending for pending in batch.pending if pending.in_batch]

    def _land(self, pending: Pending, outcome: Outcome) -> None:
        if outcome.outcome == "DEFERRED":
            pending.tries += 1
            self._deferred[pending.command.kind].inc()
            self._stay(pending, user_busy, isolated=pending.tries >= TRIES_WITHOUT_WAITING)
            return
        if outcome.replayed:
            self._replayed.labels(pending.command.kind).inc()
        if pending.command.kind in _OF_ORDERS and outcome.resource_id and self._order_log.picks(outcome.resource_id):
            self._leave_line(pending, outcome)
        if not pending.answer.done():
            self._answered.labels(pending.command.kind, outcome.outcome).inc()
            pending.answer.set_result(outcome)
        self._finish(pending)

    def _leave_line(self, pending: Pending, outcome: Outcome) -> None:
        fields = {"order_id": outcome.resource_id, "outcome": outcome.outcome, "replayed": outcome.replayed}
        _log.info("command decided", extra=fields | _ids(pending))

    def _fail(self, pending: Pending, error: Exception) -> None:
        self._refuse(pending, error)
        self._finish(pending)

    def _refuse(self, pending: Pending, error: Exception) -> None:
        if not pending.answer.done():
            self._answered.labels(pending.command.kind, getattr(error, "code", "INTERNAL")).inc()
            pending.answer.set_exception(error)

    def _finish(self, pending: Pending) -> None:
        pending.timer.cancel()
        self._lanes.finish(pending)
        self._waiting.set(self._lanes.count)
        self._wake.set()

    def _give_up(self, pending: Pending) -> None:
        """Its time is up."""
        self._refuse(pending, pending.if_late())
        self._lanes.forget(pending)
        self._waiting.set(self._lanes.count)
        self._wake.set()

    def _stay(self, pending: Pending, why: Callable[[], Problem], *, isolated: bool) -> None:
        """It has no outcome yet: again, unless nobody waits any more."""
        pending.stay(why)
        if pending.answer.done():
            self._finish(pending)
        else:
            self._lanes.put_back(pending, isolated=isolated)
            self._wake.set()

    def _busy(self, batch: Batch) -> None:
        """The lock or the statement ran into its time limit: rolled back, so nothing was done."""
        for pending in batch.pending:
            self._stay(pending, user_busy, isolated=True)

    async def _resend(self, batch: Batch, error: Exception) -> None:
        """The connection was lost, maybe around COMMIT: the same keys again, until the deadline."""
        if batch.sent:
            self._resent[batch.kind].inc()
            _log.warning("the database went away; sending %d commands again", len(batch.pending), exc_info=error)
            for pending in batch.pending:
                pending.lost = True
        else:
            self._unconnected[batch.kind].inc()
            _log.warning("no connection to the database; %d commands wait", len(batch.pending), exc_info=error)
        await self._wait(batch, errors.unavailable)

    async def _wait(self, batch: Batch, why: Callable[[], Problem]) -> None:
        """Nothing of it is at the database: again in a moment."""
        for pending in batch.pending:
            pending.stay(why)
        await asyncio.sleep(RETRY_PAUSE_S)
        for pending in batch.pending:
            self._stay(pending, why, isolated=False)

    async def _isolate(self, batch: Batch, error: DatabaseFailure) -> None:
        """The database refused the call whole: one command at a time finds the poison one. A cell that is fenced
        refuses all alike."""
        if isinstance(error, DatabaseRefused) and error.sqlstate == errors.FENCED_SQLSTATE:
            for pending in batch.pending:
                self._fail(pending, errors.cell_fenced())
            return
        if len(batch.pending) == 1:
            pending = batch.pending[0]
            user_id = pending.command.user_id
            _log.error("command refused by the database", extra=_ids(pending), exc_info=error)
            if len(self._poison_counts) >= POISON_USERS_MAX:
                self._poison_counts.clear()
            self._poison_counts[user_id] = self._poison_counts.get(user_id, 0) + 1
            self._fail(pending, error)
            return
        self._split[batch.kind].inc()
        for pending in batch.pending:
            pending.stay(not_reached)
        for pending in batch.pending:
            await self._run(Batch(batch.kind, [pending]))


def _ids(pending: Pending) -> dict[str, object]:
    """Who sent this command, with what request, and what they call the order."""
    command = pending.command
    fields: dict[str, object] = {"user_id": command.user_id, "kind": command.kind, **id_fields(pending.request)}
    client_order_id = getattr(command.arguments, "client_order_id", None)
    return fields if client_order_id is None else {**fields, "client_order_id": client_order_id}
