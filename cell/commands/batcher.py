"""Commands -> set-based procedure calls.

Every write of a customer is a `Command`. A flight takes what queued while the last call flew (at most `batch_max`, of
one kind, **at most one per user**) and makes one procedure call of it; each command gets its own outcome. There is no
timer: an idle process sends a single command at once, and a further flight starts only for a batch worth a call of its
own (`SECOND_FLIGHT_MIN`), so a busy process sends few full batches instead of many of one.

Order: one user's commands run one after another in arrival order, and a command behaves as if it had been sent alone.
Between users nothing is promised, and kinds take turns: a flight of the kind that flew longest ago, so that a flood of
one kind holds up nobody who sends another. A connection that is not free in time is no failure: the commands wait on.

Under failure: a user whose row another writer holds is skipped, not waited for, and goes with the next flight; after
three tries his command goes alone and waits a short `lock_timeout`, again and again until its deadline; one such flight
is in the air at most, beside the others. A call that the database refuses is rerun one command at a time, so only the
guilty one fails, and a user guilty twice runs alone from then on. A connection lost around COMMIT is answered by
sending the same commands with the same keys again, which is harmless, until the deadline. The queue is bounded; beyond
it the answer is OVERLOADED.

A command is answered at its deadline, the caller's or ours, whichever is first: OUTCOME_UNKNOWN if it is at the
database or was lost there, never a guess; else it is certainly not done, the answer says so, and it never flies. So
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
from cell.commands.lanes import Flight, Lanes, Pending, not_reached, user_busy
from infra.runtime import deadline
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.problem import Problem
from infra.runtime.procedures import ConnectionsTaken, DatabaseAway, DatabaseBusy, DatabaseFailure, call_on, connected
from infra.runtime.telemetry import Metrics

_log = logging.getLogger(__name__)

TRIES_WITHOUT_WAITING: Final = 3
SECOND_FLIGHT_MIN: Final = 16
"""A call costs the database as much as its first dozen commands; below that, waiting for the flight in the air is
cheaper than a call of one's own, and the wait is shorter than the call."""
LOCK_WAITS_LEFT_MIN: Final = 1.5
"""Of a command's time, for it to wait for a lock: the wait, and half of it for the answer to come."""
SUSPECTS_MAX: Final = 1_024
CONNECTION_WAIT_S: Final = 1.0
RETRY_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    batch_max: int
    flights_max: int
    queue_max: int
    user_queue_max: int
    command_deadline_s: float
    lock_wait_s: float = 0.2
    """How long the database lets a command that goes alone wait for its user's lock."""


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
    ) -> None:
        """`clock` says which session of the market it is; without one the database's own does, read under the locks, so
        that app servers whose clocks differ agree."""
        self._pool = pool
        self._calls = calls
        self._limits = limits
        self._clock = clock
        self._faults = faults
        self._lanes = Lanes()
        self._suspects: dict[UUID, int] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._in_the_air = {False: 0, True: 0}  # flights by whether they fly alone
        self._flights: list[asyncio.Task[None]] = []
        self._waiting = metrics.gauge("cell_commands_waiting")
        self._batch_commands = {k: metrics.histogram("cell_batch_commands").labels(k) for k in CommandKind}
        self._batch_seconds = {k: metrics.histogram("cell_batch_seconds").labels(k) for k in CommandKind}
        self._skipped = {k: metrics.counter("cell_commands_deferred_total").labels(k) for k in CommandKind}
        self._split = {k: metrics.counter("cell_batches_split_total").labels(k) for k in CommandKind}
        self._resent = {k: metrics.counter("cell_batches_resent_total").labels(k) for k in CommandKind}
        self._unconnected = {k: metrics.counter("cell_batches_unconnected_total").labels(k) for k in CommandKind}
        self._answered = metrics.counter("cell_commands_total")
        self._replayed = metrics.counter("cell_commands_replayed_total")

    async def __aenter__(self) -> "Batcher":
        self._flights = [
            asyncio.create_task(self._fly(), name=f"flight-{number}") for number in range(self._limits.flights_max)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer what is queued, then end."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._flights)

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
        pending: Pending = Pending(command, answer, loop.call_later(within_s, lambda: self._give_up(pending)))
        self._lanes.add(pending)
        self._wake.set()
        return answer

    async def _fly(self) -> None:
        while True:
            flight = self._next()
            if flight is None:
                if self._closing and not self._lanes.count:
                    return
                self._wake.clear()
                if self._closing:
                    await asyncio.sleep(0.005)  # another flight still holds the last heads
                else:
                    await self._wake.wait()
                    await asyncio.sleep(0)  # whatever the loop has read from sockets in this turn flies together
                continue
            self._waiting.set(self._lanes.count)
            self._in_the_air[flight.is_alone] += 1
            try:
                await self._run(flight)
            except Exception as error:  # our own mistake must not end the flight and strand every later command
                _log.exception("a flight failed")
                for pending in flight.pending:
                    if pending.flying:
                        self._fail(pending, error)
            finally:
                self._in_the_air[flight.is_alone] -= 1
                self._wake.set()

    def _next(self) -> Flight | None:
        flight = None
        if not self._in_the_air[True]:
            flight = self._lanes.take_alone()
        if flight is None and (not self._in_the_air[False] or self._lanes.free >= SECOND_FLIGHT_MIN):
            flight = self._lanes.take_together(self._limits.batch_max, self._suspects)
        if flight is None and not self._in_the_air[True]:
            flight = self._lanes.take_alone()  # a suspect that was among the others
        return flight

    async def _run(self, flight: Flight) -> None:
        """One call, and what follows from each way it can end."""
        self._batch_commands[flight.kind].observe(len(flight.pending))
        began = time.perf_counter()
        try:
            rows = await self._call(flight)
        except DatabaseBusy:
            self._busy(flight)
            return
        except ConnectionsTaken:
            await self._wait(flight, not_reached)
            return
        except DatabaseAway as error:
            await self._resend(flight, error)
            return
        except DatabaseFailure as error:
            await self._split_up(flight, error)
            return
        self._batch_seconds[flight.kind].observe(time.perf_counter() - began)
        for ordinal, *rest in rows:
            self._land(flight.pending[ordinal - 1], Outcome(*rest))

    async def _call(self, flight: Flight) -> Sequence[tuple[Any, ...]]:
        procedure = self._calls[flight.kind]
        await self._faults.reach("batch.before_call")
        async with connected(self._pool, within_s=CONNECTION_WAIT_S) as connection:
            self._leave_behind(flight)
            if not flight.pending:
                return []
            commands = [pending.command for pending in flight.pending]
            market_at = None if self._clock is None else self._clock.now()
            parameters = bind(procedure, commands, at=market_at, wait=flight.is_alone)
            flight.sent = True
            for pending in flight.pending:
                pending.if_late = errors.outcome_unknown
            rows = await call_on(connection, procedure.sql, parameters)
        await self._faults.reach("batch.after_commit")
        return rows

    def _leave_behind(self, flight: Flight) -> None:
        """Nobody waits for these any more, or will when their lock wait ends; and nothing of them is on its way."""
        now_s = asyncio.get_running_loop().time()
        for pending in flight.pending:
            if flight.is_alone and pending.timer.when() - now_s < LOCK_WAITS_LEFT_MIN * self._limits.lock_wait_s:
                self._refuse(pending, pending.if_late())
            if pending.answer.done():
                self._finish(pending)
        flight.pending = [pending for pending in flight.pending if pending.flying]

    def _land(self, pending: Pending, outcome: Outcome) -> None:
        if outcome.outcome == "SKIPPED":
            pending.tries += 1
            self._skipped[pending.command.kind].inc()
            self._stay(pending, user_busy, alone=pending.tries >= TRIES_WITHOUT_WAITING)
            return
        if outcome.replayed:
            self._replayed.labels(pending.command.kind).inc()
        if not pending.answer.done():
            self._answered.labels(pending.command.kind, outcome.outcome).inc()
            pending.answer.set_result(outcome)
        self._finish(pending)

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

    def _stay(self, pending: Pending, why: Callable[[], Problem], *, alone: bool) -> None:
        """It did not fly through: again, unless nobody waits any more."""
        pending.stay(why)
        if pending.answer.done():
            self._finish(pending)
        else:
            self._lanes.put_back(pending, alone=alone)
            self._wake.set()

    def _busy(self, flight: Flight) -> None:
        """The lock or the statement ran into its time limit: rolled back, so nothing was done."""
        for pending in flight.pending:
            self._stay(pending, user_busy, alone=True)

    async def _resend(self, flight: Flight, error: Exception) -> None:
        """The connection was lost, maybe around COMMIT: the same keys again, until the deadline."""
        if flight.sent:
            self._resent[flight.kind].inc()
            _log.warning("the database went away; sending %d commands again", len(flight.pending), exc_info=error)
            for pending in flight.pending:
                pending.lost = True
        else:
            self._unconnected[flight.kind].inc()
            _log.warning("no connection to the database; %d commands wait", len(flight.pending), exc_info=error)
        await self._wait(flight, errors.unavailable)

    async def _wait(self, flight: Flight, why: Callable[[], Problem]) -> None:
        """Nothing of it is at the database: again in a moment."""
        for pending in flight.pending:
            pending.stay(why)
        await asyncio.sleep(RETRY_PAUSE_S)
        for pending in flight.pending:
            self._stay(pending, why, alone=False)

    async def _split_up(self, flight: Flight, error: DatabaseFailure) -> None:
        """The database refused the call whole: one command at a time finds the guilty one."""
        if len(flight.pending) == 1:
            pending = flight.pending[0]
            user_id = pending.command.user_id
            _log.error("command refused by the database", extra={"user_id": str(user_id)}, exc_info=error)
            if len(self._suspects) >= SUSPECTS_MAX:
                self._suspects.clear()
            self._suspects[user_id] = self._suspects.get(user_id, 0) + 1
            self._fail(pending, error)
            return
        self._split[flight.kind].inc()
        for pending in flight.pending:
            pending.stay(not_reached)
        for pending in flight.pending:
            await self._run(Flight(flight.kind, [pending]))
