"""The regular sessions of the New York Stock Exchange, from the calendar of the library `holidays`.

For the few who write a calendar down, or play the market: `python -m cell migrate` and the local exchange. Nothing that
serves customers calls it for sessions; it reads the rows. The library is imported only when it is asked: it costs a
second and 10 MB. Its half days since 1993 all end at 13:00. What the exchange announces later comes with a newer
library.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

NEW_YORK: Final = "America/New_York"
OPENS: Final = time(9, 30)
CLOSES: Final = time(16, 0)
CLOSES_EARLY: Final = time(13, 0)
"""On half days, as the day after Thanksgiving. These three are New York's time."""
FIRST_YEAR: Final = 1993
"""Half days before it closed at two."""
SATURDAY: Final = 5
"""As `date.weekday` counts."""


@dataclass(frozen=True, slots=True)
class TradingSession:
    """One day's regular session: from its open up to, and without, its close. Both are UTC."""

    trade_date: date
    opens_at: datetime
    closes_at: datetime


def market_date(at: datetime) -> date:
    """The day in New York: what settles on a date is not settled while it is still the evening before there."""
    return at.astimezone(ZoneInfo(NEW_YORK)).date()


def xnys_sessions(years: Iterable[int]) -> list[TradingSession]:
    """Every regular session of these years, in order. Raises ValueError for years before `FIRST_YEAR`."""
    import holidays

    wanted = sorted(set(years))
    if wanted and wanted[0] < FIRST_YEAR:
        raise ValueError(f"the calendar begins with {FIRST_YEAR}")
    closed = holidays.financial_holidays("NYSE", years=wanted)
    half = holidays.financial_holidays("NYSE", years=wanted, categories=("half_day",))
    new_york = ZoneInfo(NEW_YORK)
    sessions = []
    for year in wanted:
        day = date(year, 1, 1)
        while day.year == year:
            if day.weekday() < SATURDAY and day not in closed:
                opens_at = datetime.combine(day, OPENS, new_york)
                closes_at = datetime.combine(day, CLOSES_EARLY if day in half else CLOSES, new_york)
                sessions.append(TradingSession(day, opens_at.astimezone(UTC), closes_at.astimezone(UTC)))
            day += timedelta(days=1)
    return sessions
