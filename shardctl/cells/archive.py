"""Archive a cell's old history. The cell works for some seconds per request, and its answer says where to continue.

After an interruption the walk is started again from the first user: what is archived already is skipped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.backends.backend import Backend
from shardctl.cell_admin import open_cell_admin
from shardctl.errors import Refused

_COUNTED = ("users", "deferred", "entries", "postings", "events", "executions")
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


async def archive_cell(
    backend: Backend, cell: str, older_than_days: int, on_progress: Callable[[ArchiveTotals], None], *, reason: str
) -> ArchiveTotals:
    """Walk all users once; `on_progress` is called after each answer but the last. Raises NotReachable, and Refused at
    the end if events of that age are not published yet: of those users nothing was moved."""
    counts = dict.fromkeys(_COUNTED, 0)
    unpublished = False
    body: dict[str, Any] = {"older_than_days": older_than_days, "reason": reason}
    async with open_cell_admin(backend) as admin:
        while True:
            answer = await admin.call(cell, "POST", "/operator/v1/archive", body)
            for name in _COUNTED:
                counts[name] += answer[name]
            totals = ArchiveTotals(cell, **counts)
            unpublished |= answer["unpublished"]
            if answer["place"] is None:
                break
            on_progress(totals)
            body["place"] = answer["place"]
    if unpublished:
        raise Refused(
            f"{cell}: {totals.entries} entries moved, but events of some users are that old and not published yet: "
            f"`shardctl status`, `shardctl logs {cell}-relay`"
        )
    return totals
