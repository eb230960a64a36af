"""A time as an operator writes it: a moment, or so long ago. Pure."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from shardctl.errors import UsageError

_AGO: Final = re.compile(r"(\d{1,6})([smhd])\Z")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_since(text: str, now: Callable[[], datetime]) -> datetime:
    """`2026-01-31T14:30:00Z`, or `90s`, `30m`, `24h`, `7d` before `now`, which is asked for only then. Raises
    UsageError."""
    ago = _AGO.match(text)
    try:
        if ago is not None:
            return (now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).astimezone(UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no time: write 2026-01-31T14:30:00Z, or 24h for so long ago") from error
    if moment.tzinfo is None:
        raise UsageError(f"{text!r} has no zone: write {text}Z for UTC")
    return moment.astimezone(UTC)
