"""When a trade settles (T+1) if the cell's calendar, which is asked first, does not know: the next weekday."""

from datetime import date, timedelta
from typing import Final

SATURDAY: Final = 5
"""As `date.weekday` counts."""


def settlement_date(traded_on: date) -> date:
    """The next business day."""
    settles_on = traded_on + timedelta(days=1)
    while settles_on.weekday() >= SATURDAY:
        settles_on += timedelta(days=1)
    return settles_on
