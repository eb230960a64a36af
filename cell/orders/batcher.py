"""Commands -> set-based procedure calls.

Every write of a customer is a `Command`. A flight takes what queued while the last call flew (at most `batch_max`, of
one kind, **at most one per user**) and makes one procedure call of it; each command gets its own outcome. There is no
timer: an idle process sends a single command at once, and a further flight starts only for a batch worth a call of its
own (`SECOND_FLIGHT_MIN`), so a busy process sends few full batches instead of many of one.

Order: one user's commands run one after another in arrival order, and a command behaves as if it had been sent alone.
Between users nothing is promised; cancels go first.

Under failure: a user whose row another writer holds is skipped, not waited for, and goes with the next flight; after
three tries his command goes alone and waits a short `lock_timeout`, again and again until its deadline; one such flight
is in the air at most, beside the others. A call that the database refuses is rerun one command at a time, so only the
guilty one fails, and a user guilty twice runs alone from then on. A connection lost
around COMMIT is answered by sending the same commands with the same keys again, which is harmless, until the deadline;
then the answer is OUTCOME_UNKNOWN, never a guess. The queue is bounded; beyond it the answer is OVERLOADED.
It never answers a command that the database has not.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, LiteralString
from uuid import UUID

from cell import errors
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.procedures import DatabaseAway, DatabaseBusy, DatabaseFailure, call
from infra.runtime.telemetry import Metrics

_log = logging.getLogger(__name__)

TRIES_WITHOUT_WAITING: Final = 3
SECOND_FLIGHT_MIN: Final = 16
"""A call costs the database as much as its first dozen commands; below that, waiting for the flight in the air is
cheaper than a call of one's own, and the wait is shorter than the call."""
GUILTY_TIMES_MAX: Final = 2
SUSPECTS_MAX: Final = 1_024
CONNECTION_WAIT_S: Final = 1.0


class CommandKind(StrEnum):
    """What a command asks for; the order of members is the order of service."""

    CANCEL = "cancel"
    REPLACE = "replace"
    PLACE = "place"
    DEPOSIT = "deposit"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Command:
    """One customer's one deed. `arguments` are the procedure's columns after user, key and fingerprint."""

    kind: CommandKind
    user_id: UUID
    key: str
    fingerprint: bytes
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the procedure said of one command."""

    outcome: str
    figures: Mapping[str, Any] | None
    resource_id: UUID | None
    at: datetime
    replayed: bool


@dataclass(frozen=True, slots=True)
class Procedure:
    """How a kind is called: the columns' arrays first, then `constants`, then time and whether to wait for locks."""

    sql: LiteralString
    columns: int
    constants: tuple[Any, ...] = ()


def procedures(
    *, accept_transfers: bool, reference_age_max_s: float, market_hours: str = "always"
) -> Mapping[CommandKind, Procedure]:
    """The cell's write procedures for customers' commands."""
    return {
        CommandKind.PLACE: Procedure(
            "select * from brokerage.place_orders_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], %b::text[], "
            "%b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], p_stop_pxs => %b::bigint[], "
            "p_notionals => %b::bigint[], p_reference_age_max => make_interval(secs => %s), p_market_hours => %s, "
            "p_at => %s, p_wait => %s)",
            columns=10,
            constants=(reference_age_max_s, market_hours),
        ),
        CommandKind.CANCEL: Procedure(
            "select * from brokerage.cancel_orders_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], "
            "p_at => %s, p_wait => %s)",
            columns=1,
        ),
        CommandKind.REPLACE: Procedure(
            "select * from brokerage.replace_orders_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], %b::uuid[], "
            "%b::integer[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[], "
            "p_client_order_ids => %b::text[], p_market_hours => %s, p_at => %s, p_wait => %s)",
            columns=8,
            constants=(market_hours,),
        ),
        CommandKind.DEPOSIT: Procedure(
            "select * from brokerage.deposit_cash_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], %b::bigint[], "
            "p_at => %s, p_wait => %s)",
            columns=2,
        ),
        CommandKind.TRANSFER: Procedure(
            "select * from brokerage.transfer_shares_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], %b::text[], "
            "%b::bigint[], %b::bigint[], p_accept => %s, p_at => %s, p_wait => %s)",
            columns=4,
            constants=(accept_transfers,),
        ),
    }


def bind(procedure: Procedure, commands: Sequence[Command], *, at: datetime, wait: bool) -> tuple[Any, ...]:
    """The parameters of one call for these commands, a column each."""
    columns = zip(*(command.arguments for command in commands), strict=True)
    return (
        [command.user_id for command in commands],
        [command.key for command in commands],
        [command.fingerprint for command in commands],
        *(list(column) for column in columns),
        *procedure.constants,
        at,
        wait,
    )


@dataclass(slots=True)
class _Pending:
    command: Command
    answer: asyncio.Future[Outcome]
    deadline: float
    tries: int = 0
    sent: bool = False
    """Has a call with it ever been sent? Then a failure to reach the database leaves its outcome unknown."""


@dataclass(slots=True)
class _Flight:
    kind: CommandKind
    pending: list[_Pending]
    is_alone: bool = False
    """One command that waits for its user's lock."""


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    batch_max: int
    flights_max: int
    queue_max: int
    user_queue_max: int
    command_deadline_s: float


@dataclass(slots=True)
class _Lanes:
    """Who waits behind whom: each user's commands in order, and per kind the users whose head is free to fly."""

    by_user: dict[UUID, deque[_Pending]] = field(default_factory=dict)
    ready: dict[CommandKind, deque[UUID]] = field(default_factory=lambda: {kind: deque() for kind in CommandKind})
    alone: deque[UUID] = field(default_factory=deque)
    count: int = 0

    @property
    def free(self) -> int:
        """Heads that could share a flight now."""
        return sum(map(len, self.ready.values()))

    def add(self, pending: _Pending) -> None:
        user_id = pending.command.user_id
        lane = self.by_user.get(user_id)
        self.count += 1
        if lane is None:
            self.by_user[user_id] = deque((pending,))
            self.ready[pending.command.kind].append(user_id)
        else:
            lane.append(pending)

    def put_back(self, user_id: UUID, *, alone: bool) -> None:
        """The head did not fly through: it stays the head and is free again."""
        if alone:
            self.alone.append(user_id)
        else:
            self.ready[self.by_user[user_id][0].command.kind].append(user_id)

    def finish(self, user_id: UUID) -> None:
        """The head is answered: the next of that user is free to fly."""
        lane = self.by_user[user_id]
        lane.popleft()
        self.count -= 1
        if lane:
            self.ready[lane[0].command.kind].append(user_id)
        else:
            del self.by_user[user_id]

    def take_together(self, batch_max: int, suspects: Mapping[UUID, int]) -> _Flight | None:
        for kind, users in self.ready.items():
            heads: list[_Pending] = []
            while users and len(heads) < batch_max:
                head = self.by_user[users.popleft()][0]
                if suspects and suspects.get(head.command.user_id, 0) >= GUILTY_TIMES_MAX:
                    self.alone.append(head.command.user_id)
                else:
                    heads.append(head)
            if heads:
                return _Flight(kind, heads)
        return None

    def take_alone(self) -> _Flight | None:
        if not self.alone:
            return None
        head = self.by_user[self.alone.popleft()][0]
        return _Flight(head.command.kind, [head], is_alone=True)


class Batcher:
    """The one way in for customers' writes of this process. Open with `async with`."""

    def __init__(
        self,
        pool: Pool,
        calls: Mapping[CommandKind, Procedure],
        limits: BatcherLimits,
        *,
        clock: Clock,
        metrics: Metrics,
        faults: FaultPoints,
    ) -> None:
        self._pool = pool
        self._calls = calls
        self._limits = limits
        self._clock = clock
        self._faults = faults
        self._lanes = _Lanes()
        self._suspects: dict[UUID, int] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._in_the_air = {False: 0, True: 0}  # flights by whether they fly alone
        self._flights: list[asyncio.Task[None]] = []
        self._waiting = metrics.gauge("cell_commands_waiting")
        self._batch_commands = {k: metrics.histogram("cell_batch_commands").labels(k) for k in CommandKind}
        self._batch_seconds = {k: metrics.histogram("cell_batch_seconds").labels(k) for k in CommandKind}
        self._skipped = {k: metrics.counter("cell_commands_skipped_total").labels(k) for k in CommandKind}
        self._split = {k: metrics.counter("cell_batches_split_total").labels(k) for k in CommandKind}
        self._resent = {k: metrics.counter("cell_batches_resent_total").labels(k) for k in CommandKind}
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
        """Queue a command. The future has its outcome, or raises a Problem. Raises Problem OVERLOADED when full."""
        if self._closing or self._lanes.count >= self._limits.queue_max:
            raise errors.overloaded("too many commands are waiting in this cell; nothing was done")
        lane = self._lanes.by_user.get(command.user_id)
        if lane is not None and len(lane) >= self._limits.user_queue_max:
            raise errors.overloaded("too many commands of this account are waiting; nothing was done")
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._lanes.add(_Pending(command, answer, time.monotonic() + self._limits.command_deadline_s))
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
                    if not pending.answer.done():
                        self._fail(pending, error)
            finally:
                self._in_the_air[flight.is_alone] -= 1
                self._wake.set()

    def _next(self) -> _Flight | None:
        flight = None
        if not self._in_the_air[True]:
            flight = self._lanes.take_alone()
        if flight is None and (not self._in_the_air[False] or self._lanes.free >= SECOND_FLIGHT_MIN):
            flight = self._lanes.take_together(self._limits.batch_max, self._suspects)
        if flight is None and not self._in_the_air[True]:
            flight = self._lanes.take_alone()  # a suspect that was among the others
        return flight

    async def _run(self, flight: _Flight) -> None:
        """One call, and what follows from each way it can end."""
        self._batch_commands[flight.kind].observe(len(flight.pending))
        began = time.perf_counter()
        try:
            rows = await self._call(flight)
        except DatabaseBusy:
            self._busy(flight)
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

    async def _call(self, flight: _Flight) -> Sequence[tuple[Any, ...]]:
        procedure = self._calls[flight.kind]
        commands = [pending.command for pending in flight.pending]
        parameters = bind(procedure, commands, at=self._clock.now(), wait=flight.is_alone)

        def sending() -> None:
            for pending in flight.pending:
                pending.sent = True

        await self._faults.reach("batch.before_call")
        rows = await call(self._pool, procedure.sql, parameters, connect_s=CONNECTION_WAIT_S, on_sending=sending)
        await self._faults.reach("batch.after_commit")
        return rows

    def _land(self, pending: _Pending, outcome: Outcome) -> None:
        user_id = pending.command.user_id
        if outcome.outcome == "SKIPPED":
            pending.tries += 1
            self._skipped[pending.command.kind].inc()
            if time.monotonic() >= pending.deadline:
                self._fail(pending, errors.overloaded("the account is busy; nothing was done"))
                return
            self._lanes.put_back(user_id, alone=pending.tries >= TRIES_WITHOUT_WAITING)
            self._wake.set()
            return
        self._answered.labels(pending.command.kind, outcome.outcome).inc()
        if outcome.replayed:
            self._replayed.labels(pending.command.kind).inc()
        if not pending.answer.done():
            pending.answer.set_result(outcome)
        self._finish(pending)

    def _fail(self, pending: _Pending, error: Exception) -> None:
        self._answered.labels(pending.command.kind, getattr(error, "code", "INTERNAL")).inc()
        if not pending.answer.done():
            pending.answer.set_exception(error)
        self._finish(pending)

    def _finish(self, pending: _Pending) -> None:
        self._lanes.finish(pending.command.user_id)
        self._waiting.set(self._lanes.count)
        self._wake.set()

    def _busy(self, flight: _Flight) -> None:
        """The lock or the statement ran into its time limit: rolled back, so nothing was done."""
        for pending in flight.pending:
            if time.monotonic() >= pending.deadline:
                self._fail(pending, errors.overloaded("the account is busy; nothing was done"))
            else:
                self._lanes.put_back(pending.command.user_id, alone=True)
        self._wake.set()

    async def _resend(self, flight: _Flight, error: Exception) -> None:
        """The connection was lost, maybe around COMMIT: the same keys again, until the deadline."""
        self._resent[flight.kind].inc()
        _log.warning("the database went away; sending %d commands again", len(flight.pending), exc_info=error)
        await asyncio.sleep(0.05)
        now = time.monotonic()
        for pending in flight.pending:
            if now < pending.deadline:
                self._lanes.put_back(pending.command.user_id, alone=False)
            else:
                self._fail(pending, errors.outcome_unknown() if pending.sent else errors.unavailable())
        self._wake.set()

    async def _split_up(self, flight: _Flight, error: DatabaseFailure) -> None:
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
            await self._run(_Flight(flight.kind, [pending]))
