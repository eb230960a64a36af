"""The database's clock, stopped: in this one database `clock_v1()` answers what its session set last.

For tests of what happens at an exact microsecond. A session that set nothing has the real time.
"""

from datetime import datetime
from typing import LiteralString

import psycopg

_STOP: LiteralString = """
create or replace function clock_v1() returns timestamptz
language sql volatile parallel safe
return coalesce(nullif(current_setting('brokerage.stopped_at', true), '')::timestamptz, clock_timestamp())
"""
SET_TIME: LiteralString = "select set_config('brokerage.stopped_at', %s, false)"


def stop_clock(owner_dsn: str) -> None:
    """Of a database that is thrown away."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute(_STOP)


class SentTime:
    """What one session has set, so that it is set again only when it changed."""

    def __init__(self) -> None:
        self._at: datetime | None = None

    def news(self, at: datetime) -> str | None:
        """The parameter of `SET_TIME`, if the session must set it."""
        if at == self._at:
            return None
        self._at = at
        return at.isoformat()
