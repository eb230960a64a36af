"""How long the caller of a request still waits: a budget in milliseconds on the wire, a point in time in here.

A budget and not a time of day, so clocks need not agree. It is kept in the context of the request: whatever works for
it finds it without being handed it, and what many requests share (a batch of commands) has none. No budget, or
one that is no number, means that only our own limits hold; a budget can only shorten them.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

DEADLINE_HEADER: Final = b"x-deadline-ms"
_DIGITS_MAX: Final = 9
"""Of a budget in milliseconds: eleven days. A longer number is no budget, and is not converted."""

_ends_at_s: ContextVar[float] = ContextVar("ends_at_s", default=math.inf)


class OutOfTime(Exception):
    """The caller has stopped waiting: whatever is answered now, nobody reads."""


@contextmanager
def budget(milliseconds: bytes | None) -> Iterator[None]:
    """What is done in here is for a caller who waits that long from now on."""
    is_number = milliseconds is not None and milliseconds.isdigit() and len(milliseconds) <= _DIGITS_MAX
    ends_at_s = time.monotonic() + int(milliseconds) / 1000 if milliseconds is not None and is_number else math.inf
    token = _ends_at_s.set(ends_at_s)
    try:
        yield
    finally:
        _ends_at_s.reset(token)


def left_s() -> float:
    """Seconds until the caller stops waiting; infinite if no budget was named."""
    return _ends_at_s.get() - time.monotonic()
