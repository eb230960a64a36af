"""When a trade settles: one business day after it (T+1). Weekends are known here; holidays come with the calendar."""

from datetime import date, timedelta
from typing import Final

SATURDAY: Final = 5


def settlement_date(traded_on: date) -> date:
    """The next business day."""
    settles_on = traded_on + timedelta(days=1)
    while settles_on.weekday() >= SATURDAY:
        settles_on += timedelta(days=1)
    return settles_on
