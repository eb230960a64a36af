"""One line of a verdict."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    about: str
    measured: str
    limit: str
    """Empty: only stated."""
    is_kept: bool
