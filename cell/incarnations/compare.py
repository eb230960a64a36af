"""Compare a restored copy of the books with the cell that it is a copy of, user by user, while that one trades on.

Who has written nothing since the copy's moment (`write_seq` is the same) must be the same in everything: orders,
positions, executions, lots, cash, and the head of the ledger's chain, by digests of whole rows. Who has written on must
at least hold the copy's ledger as the beginning of theirs: the entry with the copy's last number has the hash that is
the head of the copy's chain, and a hash covers all that came before. Reads only; pages of users, so memory is flat.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from cell.incarnations.queries import entry_hashes, user_figures, youngest_user
from infra.runtime.database import Pool

PAGE: Final = 500
"""Users whose rows are digested by one statement: far within its time limit, however long their history."""
SAMPLE_MAX: Final = 20
"""Differences that are listed; all are counted."""
_COMMITTED_WITHIN: Final = timedelta(seconds=60)
"""A user is committed within so long after the time in their row: statements end after seconds."""
_TOTALS: Final = ("orders", "positions", "executions", "entry_seq", "cash_micros", "cash_held_micros")
_HEADS: Final = ("entry_seq", "order_event_seq")

Row = Mapping[str, Any]


@dataclass
class CopyComparison:
    """What was compared, and what differs."""

    users: int = 0
    equal: int = 0
    """Users who have written nothing since, and are the same in everything."""
    traded_on: int = 0
    """Users who have written since: their ledger goes on from the copy's."""
    only_in_source: int = 0
    """Users who are younger than the copy."""
    differences: int = 0
    sample: list[dict[str, str]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    """Of the copy, over all users."""

    def differ(self, user: UUID, what: str) -> None:
        self.differences += 1
        if len(self.sample) < SAMPLE_MAX:
            self.sample.append({"user_id": str(user), "what": what})

    def count(self, row: Row) -> None:
        self.users += 1
        for name in _TOTALS:
            value = row[name] if name in row else row["numbers"].get(name, 0)
            self.totals[name] = self.totals.get(name, 0) + int(value)


def compare_page(
    found: CopyComparison,
    copies: Sequence[Row],
    sources: Iterable[Row],
    hashes: Mapping[UUID, bytes],
    newest: datetime | None,
) -> None:
    """Rows of the same range of users from both sides. `hashes`: of the source's entries with the numbers of the last
    ones in the copy. `newest`: when the copy's youngest user was made. Pure."""
    by_user = {source["user_id"]: source for source in sources}
    for copy in copies:
        user = copy["user_id"]
        source = by_user.pop(user, None)
        found.count(copy)
        if source is None:
            found.differ(user, "not in the source")
        elif source["write_seq"] == copy["write_seq"]:
            _compare_still(found, copy, source)
        elif source["write_seq"] < copy["write_seq"] or any(source[name] < copy[name] for name in _HEADS):
            found.differ(user, "the source is behind its copy")
        elif copy["entry_seq"] > 0 and hashes.get(user) != copy["chain_head"]:
            found.differ(user, "the source's ledger does not go on from the copy's")
        else:
            found.traded_on += 1
    for user, source in by_user.items():
        found.only_in_source += 1
        if newest is not None and source["created_at"] < newest - _COMMITTED_WITHIN:
            found.differ(user, "older than the copy's youngest user, and not in the copy")


def _compare_still(found: CopyComparison, copy: Row, source: Row) -> None:
    names = ("entry_seq", "order_event_seq", "chain_head", "cash_micros", "cash_held_micros", "numbers", "digests")
    different = [name for name in names if copy[name] != source[name]]
    if different:
        found.differ(copy["user_id"], f"the same number of writes, other {', '.join(different)}")
    else:
        found.equal += 1


async def compare_copy(copy: Pool, source: Pool) -> CopyComparison:
    """All users of both. Raises a DatabaseFailure, and what the driver raises."""
    found = CopyComparison()
    newest = await youngest_user(copy)
    after: UUID | None = None
    while True:
        copies = await user_figures(copy, after=after, until=None, limit=PAGE)
        until = copies[-1]["user_id"] if len(copies) == PAGE else None
        sources = await user_figures(source, after=after, until=until, limit=None)
        hashes = await entry_hashes(source, {row["user_id"]: row["entry_seq"] for row in copies})
        compare_page(found, copies, sources, hashes, newest)
        if until is None:
            return found
        after = until
