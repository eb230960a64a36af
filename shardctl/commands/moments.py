"""A moment that a cell is put back to, as an option says it."""

from datetime import datetime

from shardctl.backups.coverage import parse_moment
from shardctl.errors import UsageError


def moment_of(text: str) -> datetime | None:
    """None for `latest`. Raises UsageError."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise UsageError(f"--to {text!r}: a time with its zone, as 2026-01-31T14:30:00Z, or latest") from error
