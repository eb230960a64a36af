"""Archive a cell's old history. The cell works for some seconds per request, and its answer says where to continue.

Where a walk stands is the caller's to keep (`operations/kinds/cells_archive.py`); what is archived already is skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardctl.cell_admin import CellAdmin
from shardctl.cells.archived import COUNTED


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a walk stands after one call."""

    counts: Mapping[str, int]
    """Of the whole walk, by the names of `ArchiveTotals`."""
    place: Any
    """Where the next call goes on; None: the walk is done."""
    unpublished: bool
    """Events of some users are that old and not published yet: of those users nothing was moved."""


async def archive_piece(
    admin: CellAdmin, cell: str, older_than_days: int, place: Any, counts: Mapping[str, int]
) -> Piece:
    """Let the cell work for some seconds from `place` on (None: from the first user); `counts` of the pieces before.
    Raises NotReachable, Refused."""
    body: dict[str, Any] = {"older_than_days": older_than_days}
    if place is not None:
        body["place"] = place
    answer = await admin.call(cell, "POST", "/operator/v1/archive", body)
    counted = {name: counts.get(name, 0) + answer[name] for name in COUNTED}
    return Piece(counted, answer["place"], answer["unpublished"])
