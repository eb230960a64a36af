"""Per server of a cell: after several failures in a row, stop asking for a moment, then let one request try.

Pure: the time comes in. A success closes it at once, since a server that answers is a server that works.
"""


class Breaker:
    """`failures` in a row open it for `open_s`."""

    __slots__ = ("_failures", "_open_s", "_open_until_s", "failures_in_a_row", "trips")

    def __init__(self, *, failures: int, open_s: float) -> None:
        self._failures = failures
        self._open_s = open_s
        self._open_until_s = 0.0
        self.failures_in_a_row = 0
        self.trips = 0

    def allows(self, now_s: float) -> bool:
        """May a request go? While half open only one may, and this call gives it the permission."""
        if self.failures_in_a_row < self._failures:
            return True
        if now_s < self._open_until_s:
            return False
        # Half open: the next one tries, and the others wait for what it learns, or for another period.
        self._open_until_s = now_s + self._open_s
        return True

    def is_open(self, now_s: float) -> bool:
        return self.failures_in_a_row >= self._failures and now_s < self._open_until_s

    def succeed(self) -> None:
        self.failures_in_a_row = 0

    def fail(self, now_s: float) -> None:
        self.failures_in_a_row += 1
        if self.failures_in_a_row >= self._failures:
            if self.failures_in_a_row == self._failures:
                self.trips += 1
            self._open_until_s = now_s + self._open_s
