"""What is done by the clock: each schedule begins one operation when it is due.

What was due while nobody led is begun once, not once per missed day. The idempotency key names the schedule and the
time, so a leader that died between asking for the operation and writing that down asks for the same one. What a
conflict keeps from beginning waits and is tried again; how late it is, is a metric.
"""

import asyncio
import logging
from collections.abc import Mapping
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
    """Every day, or every week on a weekday (Monday is 0), at that time in UTC."""

    name: str
    kind: str
    at: time
    weekday: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def first_after(self, moment: datetime) -> datetime:
        """Pure."""
        due = moment.replace(hour=self.at.hour, minute=self.at.minute, second=0, microsecond=0)
        while due <= moment or (self.weekday is not None and due.weekday() != self.weekday):
            due += timedelta(days=1)
        return due


SCHEDULES: Final = (
    # After the American close and its late reports, before Europe's morning.
    Schedule("reconcile", "cells.reconcile", time(3, 0)),
    Schedule("archive", "cells.archive", time(4, 0)),
    Schedule("prune", "control.prune", time(5, 0)),
    # The calendar looks years ahead; a week is soon enough for an announced holiday that a release brought.
    Schedule("calendar", "cells.calendar", time(5, 30), weekday=6),
)


class Schedules:
    """A duty of the leader."""

    def __init__(self, state: ControlState, submissions: Submissions, metrics: Metrics) -> None:
        self._state = state
        self._submissions = submissions
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
            row = rows.get(schedule.name)
            if row is None:
                await self._state.set_due(
                    lease, schedule.name, after=None, due_at=schedule.first_after(now), operation=None
                )
            elif row.due_at <= now:
                await self._begin(lease, schedule, row, now)
            self._show_lateness(schedule, rows.get(schedule.name), now)

    async def _begin(self, lease: int, schedule: Schedule, row: DueRow, now: datetime) -> None:
        key = f"schedule {schedule.name} {row.due_at.isoformat()}"
        try:
            proposal = await self._submissions.propose(schedule.kind, schedule.arguments, person=PERSON, reason=None)
            number, _ = await self._submissions.begin(proposal, person=PERSON, reason=None, key=key, expected=None)
        except Blocked as error:
            _log.info("waits", extra={"schedule": schedule.name, "why": str(error)})
            return
        except ShardctlError as error:
            _log.warning("could not be begun", exc_info=error, extra={"schedule": schedule.name})
            return
        due_at = schedule.first_after(now)
        await self._state.set_due(lease, schedule.name, after=row.due_at, due_at=due_at, operation=number)
        _log.info("begun", extra={"schedule": schedule.name, "operation": number})

    def _show_lateness(self, schedule: Schedule, row: DueRow | None, now: datetime) -> None:
        late_s = 0.0 if row is None else max(0.0, (now - row.due_at).total_seconds())
        self._metrics.gauge("shardctl_schedule_late_seconds").labels(schedule.name).set(late_s)
