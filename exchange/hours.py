"""When this market trades: always, or in the sessions of a calendar that was computed at the start.

A session lasts from its open up to, and without, its close. Outside of one nothing trades and no price moves: the last
price is that of the last close. Moments are microseconds since 1970, as everywhere in the exchange.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from infra.runtime.market_calendar import xnys_sessions

YEARS_AHEAD: Final = 2
"""Sessions are computed once, at the start: no process runs for two years."""


class TradingHours:
    """Sessions as (open, close); None: the market never closes."""

    def __init__(self, sessions: Sequence[tuple[int, int]] | None) -> None:
        self._opens = None if sessions is None else [opens_us for opens_us, _ in sessions]
        self._closes = [] if sessions is None else [closes_us for _, closes_us in sessions]

    def is_open(self, at_us: int) -> bool:
        """Does the market trade at this moment?"""
        if self._opens is None:
            return True
        index = bisect_right(self._closes, at_us)
        return index < len(self._opens) and self._opens[index] <= at_us

    def close_after(self, at_us: int) -> int | None:
        """The next close that is later than this moment."""
        index = bisect_right(self._closes, at_us)
        return self._closes[index] if index < len(self._closes) else None

    def last_trading_us(self, at_us: int) -> int:
        """This moment, or the close before it if the market does not trade now."""
        if self.is_open(at_us):
            return at_us
        index = bisect_right(self._closes, at_us)
        return self._closes[index - 1] if index else at_us


ALWAYS: Final = TradingHours(None)


def trading_hours(market_hours: str, at: datetime) -> TradingHours:
    """The hours that a setting names."""
    if market_hours == "always":
        return ALWAYS
    sessions = xnys_sessions(range(at.year - 1, at.year + YEARS_AHEAD + 1))
    return TradingHours([(_micros(session.opens_at), _micros(session.closes_at)) for session in sessions])


def _micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000
