"""A moment that a customer names: RFC 3339 and nothing else that looks like a time.

ISO 8601 has many more forms (weeks, ordinal days, no colons, no zone), which every reader takes differently: refused.
A leap second exists at the end of a UTC day only, and is read as the second after it, as PostgreSQL and Unix count.
Digits beyond the microsecond say nothing here: recorded times have none, so whatever is compared with them is the same.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from cell import errors

_RFC_3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_WANTED: Final = (
    "a time as in RFC 3339, such as 2026-11-30T14:30:00Z or 2026-11-30T09:30:00-05:00 (+ is %2B in a query)"
)
_LAST_MINUTE: Final = (23, 59)
"""Of a UTC day: where a leap second can be."""
_FRACTION_CHARS: Final = 7  # a dot and six digits


def parse_moment(field: str, text: str) -> datetime:
    """Raises Problem 422."""
    try:
        return _read(text.upper())  # RFC 3339 has small letters as well
    except (ValueError, OverflowError) as error:
        raise errors.invalid_field(422, field, _WANTED) from error


def _read(text: str) -> datetime:
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, minute, second, fraction, zone = found.groups()
    is_leap = second == "60"
    shown = f"{day}T{minute}:{'59' if is_leap else second}{(fraction or '')[:_FRACTION_CHARS]}{zone}"
    at = datetime.fromisoformat(shown).astimezone(UTC)
    if not is_leap:
        return at
    if (at.hour, at.minute) != _LAST_MINUTE:
        raise ValueError(text)
    return at + timedelta(seconds=1)
