"""The calendar at its edges: weekends, holidays (observed and special), half days, and both changes of the clock."""

import subprocess
import sys
from datetime import UTC, date, datetime

import pytest

from infra.runtime.market_calendar import TradingSession, market_date, xnys_sessions

SESSIONS = {session.trade_date: session for session in xnys_sessions(range(2024, 2028))}


def utc(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    "day",
    [
        date(2026, 11, 21),  # a Saturday
        date(2026, 11, 22),
        date(2026, 11, 26),  # Thanksgiving
        date(2026, 7, 3),  # Independence Day, observed on a Friday
        date(2027, 7, 5),  # and on a Monday
        date(2026, 4, 3),  # Good Friday is a holiday of the exchange alone
        date(2025, 1, 9),  # a day of mourning: announced, not computed
    ],
)
def test_the_market_is_closed(day: date) -> None:
    assert day not in SESSIONS


def test_new_year_on_a_saturday_closes_no_friday() -> None:
    assert date(2027, 12, 31) in SESSIONS
    assert date(2028, 1, 1) not in SESSIONS


@pytest.mark.parametrize("day", [date(2025, 7, 3), date(2026, 11, 27), date(2026, 12, 24), date(2024, 12, 24)])
def test_a_half_day_ends_at_one_in_new_york(day: date) -> None:
    assert (SESSIONS[day].opens_at.minute, SESSIONS[day].closes_at.minute) == (30, 0)
    assert SESSIONS[day].closes_at == utc(day, 17 if day.month == 7 else 18)


def test_the_hours_follow_new_york_over_both_changes_of_the_clock() -> None:
    for friday, monday, before, after in [
        (date(2026, 3, 6), date(2026, 3, 9), 14, 13),
        (date(2026, 10, 30), date(2026, 11, 2), 13, 14),
    ]:
        assert SESSIONS[friday].opens_at == utc(friday, before, 30)
        assert SESSIONS[monday].opens_at == utc(monday, after, 30)
        assert SESSIONS[monday].closes_at == utc(monday, after + 7)


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (utc(date(2026, 11, 23), 4, 59), date(2026, 11, 22)),  # Sunday evening, and already Monday in London
        (utc(date(2026, 11, 23), 5), date(2026, 11, 23)),
        (utc(date(2026, 7, 6), 3, 59), date(2026, 7, 5)),
        (utc(date(2026, 7, 6), 4), date(2026, 7, 6)),
    ],
)
def test_a_day_begins_at_midnight_in_new_york(at: datetime, day: date) -> None:
    assert market_date(at) == day


def test_a_year_has_about_251_sessions_in_order() -> None:
    days = list(SESSIONS)
    assert days == sorted(days)
    for year in range(2024, 2028):
        assert 249 <= sum(day.year == year for day in days) <= 253
    assert all(isinstance(session, TradingSession) for session in SESSIONS.values())


def test_nobody_who_serves_pays_for_the_library() -> None:
    script = "import sys, cell.__main__, exchange.__main__; sys.exit('holidays' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
