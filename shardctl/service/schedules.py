"""What is done by the clock: each schedule begins one operation when it is due, or is a small task of the leader's own.

What was due while nobody led is begun once, not once per missed day. The idempotency key names the schedule and the
time, so a leader that died between asking for the operation and writing that down asks for the same one. What a
conflict keeps from beginning waits and is tried again, and so does a task that fails. How late it is, and whether the
operation that it began last has failed, are metrics, and alerts judge them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Final

from infra.runtime.procedures import DatabaseFailure
from infra.runtime.telemetry import Metrics
from infra.security.roles import Role
from shardctl.errors import Blocked, ShardctlError
from shardctl.persons import Person, Way
from shardctl.service.queries import ControlState, DueRow
from shardctl.service.submissions import Submissions

_log = logging.getLogger(__name__)
POLL_S: Final = 10.0
"""Nobody notices ten seconds at night."""
PERSON: Final = Person("schedule", Role.ADMIN, Way.SCHEDULE)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every hour, or every day at a time in UTC, or every week on a weekday (Monday is 0)."""

    name: str
    kind: str | None
    """Of the operation; None: the leader's own task of this name, which leaves no operation."""
    at: time | None
    """None: every hour, at its beginning."""
    reason: str
    """What its operation is recorded with."""
    weekday: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def first_after(self, moment: datetime) -> datetime:
        """Pure."""
        if self.at is None:
            return moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        due = moment.replace(hour=self.at.hour, minute=self.at.minute, second=0, microsecond=0)
        while due <= moment or (self.weekday is not None and due.weekday() != self.weekday):
            due += timedelta(days=1)
        return due


SCHEDULES: Final = (
    # After the American close and its late reports, before Europe's morning.
    Schedule("reconcile", "cells.reconcile", time(3, 0), "every night: books, venue and events agree"),
    Schedule("archive", "cells.archive", time(4, 0), "every night: old history moves to the archive"),
    Schedule("prune", "control.prune", time(5, 0), "every night: what is old enough is deleted"),
    # Before the night's other work, so that what that might spoil is in a backup. A full one each week, and what has
    # changed since in between: a month can be put back, and a restore joins at most seven.
    Schedule(
        "full_backup",
        "backup.create",
        time(0, 30),
        "every week: a full backup of each database, and the oldest ones go",
        weekday=6,
        arguments={"keep": 4},
    ),
    Schedule(
        "backup",
        "backup.create",
        time(1, 30),
        "every night: what has changed since the last backup",
        arguments={"incremental": True},
    ),
    # A backup that was never restored is a hope. On the day without trading and without a full backup.
    Schedule("rehearsal", "backup.rehearse", time(7, 0), "every week: the newest backups would do", weekday=5),
    # The calendar looks years ahead; a week is soon enough for an announced holiday that a release brought.
    Schedule("calendar", "cells.calendar", time(5, 30), "every week: the market's calendar", weekday=6),
    # What was recorded since the last head is proven by the chain alone, so this is how much a thief of all rights over
    # the control database could write anew unseen.
    Schedule("audit_head", None, None, "every hour: the head of the audit chain to Kafka"),
)

BACKUP_KINDS: Final = frozenset({"backup.create", "backup.rehearse"})
"""Of a back end that makes backups itself; elsewhere what runs the databases does it."""
Task = Callable[[], Awaitable[None]]
"""Harmless to repeat. Raises a ShardctlError or a DatabaseFailure if it is to be tried again."""


class Schedules:
    """A duty of the leader."""

    def __init__(
        self,
        state: ControlState,
        submissions: Submissions,
        tasks: Mapping[str, Task],
        metrics: Metrics,
        without: frozenset[str] = frozenset(),
    ) -> None:
        """`tasks`: what the schedules without a kind do, by their name. `without`: kinds that the back end leaves to
        others; their schedules are never due."""
        self._without = without
        self._state = state
        self._submissions = submissions
        self._tasks = tasks
        self._metrics = metrics

    async def __call__(self, lease: int) -> None:
        """For ever. Raises LeaseLost."""
        while True:
            try:
                await self.begin_what_is_due(lease)
            except DatabaseFailure as error:
                _log.warning("cannot read what is due", exc_info=error)
            await asyncio.sleep(POLL_S)

    async def begin_what_is_due(self, lease: int) -> None:
        """Raises LeaseLost, a DatabaseFailure."""
        now, rows = await self._state.now(), await self._state.schedules()
        for schedule in SCHEDULES:
            if schedule.kind in self._without:
                continue
            row = rows.get(schedule.name)
            if row is None:
                await self._state.set_due(
                    lease, schedule.name, after=None, due_at=schedule.first_after(now), operation=None
                )
            elif row.due_at <= now:
                await self._begin(lease, schedule, row, now)
            self._show(schedule, row, now)

    async def _begin(self, lease: int, schedule: Schedule, row: DueRow, now: datetime) -> None:
        try:
            number = await self._done_or_asked_for(schedule, row)
        except Blocked as error:
            _log.info("waits", extra={"schedule": schedule.name, "why": str(error)})
            return
        except ShardctlError as error:
            _log.warning("could not be begun", exc_info=error, extra={"schedule": schedule.name})
            return
        due_at = schedule.first_after(now)
        await self._state.set_due(lease, schedule.name, after=row.due_at, due_at=due_at, operation=number)
        _log.info("begun", extra={"schedule": schedule.name, "operation": number})

    async def _done_or_asked_for(self, schedule: Schedule, row: DueRow) -> int | None:
        """The number of the operation that does it; None: it is done."""
        if schedule.kind is None:
            await self._tasks[schedule.name]()
            return None
        key = f"schedule {schedule.name} {row.due_at.isoformat()}"
        number, _ = await self._submissions.begin_unasked(
            schedule.kind, schedule.arguments, person=PERSON, reason=schedule.reason, key=key
        )
        return number

    def _show(self, schedule: Schedule, row: DueRow | None, now: datetime) -> None:
        late_s = 0.0 if row is None else max(0.0, (now - row.due_at).total_seconds())
        self._metrics.gauge("shardctl_schedule_late_seconds").labels(schedule.name).set(late_s)
        has_failed = row is not None and row.has_failed
        self._metrics.gauge("shardctl_schedule_failed").labels(schedule.name).set(int(has_failed))
