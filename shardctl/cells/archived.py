"""What a walk over a cell's users moved to the archive, as the operation's result tells it. Pure."""

from dataclasses import dataclass
from typing import Final

from shardctl.operations.plan import Document

OLDER_THAN_DAYS: Final = 90
"""A quarter: what customers and support still look at stays in the current tables."""
COUNTED = ("users", "deferred", "entries", "postings", "events", "executions")
"""Of a cell's answer, what adds up over a walk."""


@dataclass(frozen=True, slots=True)
class ArchiveTotals:
    """What one walk over a cell's users moved."""

    cell: str
    users: int
    deferred: int
    """Users whose row was locked or who are halted: left for the next run."""
    entries: int
    postings: int
    events: int
    executions: int


def totals_of(result: Document) -> ArchiveTotals:
    """From the result of the step of one cell."""
    return ArchiveTotals(result["cell"], **result["totals"])
