"""When a schedule is due: the first time after a moment, never the moment itself, once for days that were missed."""

from datetime import UTC, datetime, time

import pytest

from shardctl.operations.catalog import KINDS
from shardctl.service.schedules import BACKUP_KINDS, SCHEDULES, Schedule

NIGHTLY = Schedule("n", "cells.reconcile", time(3, 0), "why")
WEEKLY = Schedule("w", "cells.reconcile", time(3, 0), "why", weekday=6)
HOURLY = Schedule("h", None, None, "why")


@pytest.mark.parametrize(
    ("schedule", "moment", "due"),
    [
        (NIGHTLY, "2026-11-30T02:59:59", "2026-11-30T03:00:00"),
        (NIGHTLY, "2026-11-30T03:00:00", "2026-12-01T03:00:00"),
        (NIGHTLY, "2026-12-31T23:00:00", "2027-01-01T03:00:00"),
        (HOURLY, "2026-11-30T02:00:00", "2026-11-30T03:00:00"),
        (HOURLY, "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
        (WEEKLY, "2026-11-30T02:00:00", "2026-12-06T03:00:00"),
        (WEEKLY, "2026-12-06T02:00:00", "2026-12-06T03:00:00"),
    ],
)
def test_due(schedule: Schedule, moment: str, due: str) -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert schedule.first_after(at(moment)) == at(due)


def test_every_schedule_begins_a_kind_that_there_is() -> None:
    assert {schedule.kind for schedule in SCHEDULES} - {None} <= set(KINDS)
    assert {schedule.kind for schedule in SCHEDULES if (schedule.kind or "").startswith("backup.")} == BACKUP_KINDS
    assert len({schedule.name for schedule in SCHEDULES}) == len(SCHEDULES)
    for schedule in SCHEDULES:
        assert schedule.reason
        if schedule.kind is not None:
            KINDS[schedule.kind].parse(schedule.arguments)
