"""A deadline as a budget on the wire: how many milliseconds the caller still has.

A budget, not a time of day, so clocks need not agree. Whoever receives it stops working when it is used up, instead of
finishing what nobody waits for.
"""

from dataclasses import dataclass
from typing import Final

DEADLINE_HEADER: Final = "x-deadline-ms"
_BUDGET_MS_MAX: Final = 600_000


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock."""

    at_s: float

    @classmethod
    def after(cls, budget_s: float, *, now_s: float) -> "Deadline":
        return cls(now_s + budget_s)

    def left_s(self, now_s: float) -> float:
        return max(0.0, self.at_s - now_s)

    def to_header(self, now_s: float) -> str:
        return str(int(self.left_s(now_s) * 1000))


def read_budget(header: str | None, *, default_s: float, now_s: float) -> Deadline:
    """The sender's budget if it is a sensible number, never more than our own."""
    if header is not None and header.isascii() and header.isdigit() and len(header) <= 7:
        return Deadline.after(min(int(header), _BUDGET_MS_MAX, int(default_s * 1000)) / 1000, now_s=now_s)
    return Deadline.after(default_s, now_s=now_s)
