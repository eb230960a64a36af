"""Archive a cell's old history: the cell works in pieces of seconds, and its answer says where to go on.

Interrupted anywhere it is simply begun again: what has moved is passed over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.backends.local.backend import LocalBackend
from shardctl.cell_admin import open_cell_admin
from shardctl.errors import Refused

_COUNTS = ("users", "put_off", "entries", "postings", "events", "executions")


@dataclass(frozen=True, slots=True)
class ArchiveTotals:
    """What one walk over a cell's users moved."""

    cell: str
    users: int
    put_off: int
    entries: int
    postings: int
    events: int
    executions: int


async def archive_cell(
    backend: LocalBackend, cell: str, older_than_days: int, tell: Callable[[ArchiveTotals], None]
) -> ArchiveTotals:
    """Walk all users once. Raises Refused in the end if events that old are not published yet: of those users nothing
    was moved."""
    counts = dict.fromkeys(_COUNTS, 0)
    unpublished = False
    body: dict[str, Any] = {"older_than_days": older_than_days}
    async with open_cell_admin(backend) as admin:
        while True:
            answer = await admin.call(cell, "POST", "/operator/v1/archive", body)
            for name in _COUNTS:
                counts[name] += answer[name]
            totals = ArchiveTotals(cell, **counts)
            unpublished |= answer["unpublished"]
            if answer["place"] is None:
                break
            tell(totals)
            body["place"] = answer["place"]
    if unpublished:
        raise Refused(
            f"{cell}: {totals.entries} entries moved, but some users' events that old wait for Kafka: "
            f"`shardctl status`, `shardctl logs {cell}-relay`"
        )
    return totals
