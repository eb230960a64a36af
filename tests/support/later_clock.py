"""The time of day, put forward by a test."""

from datetime import UTC, datetime, timedelta


class LaterClock:
    def __init__(self) -> None:
        self.after = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.after

    def monotonic(self) -> float:
        return self.now().timestamp()
