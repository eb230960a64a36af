"""Walk the audit chain from its beginning and say which row is wrong, and how. Pure, one row in memory.

By itself the chain shows a row that was edited, deleted, inserted or moved. It does not show a tail that somebody wrote
anew, with right hashes, or cut off: for that there are the heads that were published to Kafka. What came after the
newest published head (an hour, if nothing is late) is proven by the chain alone, and the answer says from where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from shardctl.audit.head import Head
from shardctl.audit.row import GENESIS_HASH, AuditRow

LISTED_MAX: Final = 100
"""Findings that are listed one by one; all are counted. One edit makes two at most: a hundred is a chain in ruins."""


class Fault(StrEnum):
    EDITED = "edited"
    """Its fields do not give its hash."""
    NOT_CHAINED = "not_chained"
    """It continues another row than the one before it: that one was replaced, or this one."""
    MISSING = "missing"
    """Rows before it were deleted."""
    MISPLACED = "misplaced"
    """It stands after a row of a higher number, or a second time."""
    REWRITTEN = "rewritten"
    """It is not the row that was published as the head."""
    CUT_OFF = "cut_off"
    """Rows up to a published head are not there."""
    TIME_BACK = "time_back"
    """It is older than the row before it, which no row is when it is written."""
    MALFORMED = "malformed"
    """A line of a file that is no row."""
    OTHER_FILE = "other_file"
    """The bytes of the file are not those that were exported."""


@dataclass(frozen=True, slots=True)
class Finding:
    number: int
    """Of the row; the first one that is missing."""
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk found."""

    rows: int
    first: int
    last: int
    """Zero without a row."""
    head: str
    """Hash of the last row."""
    heads_compared: int
    proven_by_heads: int
    """Up to this row a published head agrees."""
    findings: tuple[Finding, ...]
    findings_total: int

    @property
    def is_intact(self) -> bool:
        return self.findings_total == 0


class Walk:
    """Rows are taken in the order in which they stand. `before`: number and hash of the row before the first one."""

    def __init__(self, heads: Mapping[int, Sequence[Head]], before: tuple[int, str] = (0, GENESIS_HASH)) -> None:
        self._heads = heads
        self._first = before[0] + 1
        self._number, self._hash = before
        self._at: datetime | None = None
        self._rows = 0
        self._heads_compared = 0
        self._proven = 0
        self._findings: list[Finding] = []
        self._total = 0

    @property
    def last(self) -> int:
        """Number of the row that was taken last."""
        return self._number

    @property
    def hash(self) -> str:
        """Of that row, as it says."""
        return self._hash

    def take(self, row: AuditRow) -> None:
        self._rows += 1
        if row.number <= self._number:
            self.report(row.number, Fault.MISPLACED, f"it stands after row {self._number}")
            return
        if row.number > self._number + 1:
            self._report_gap(row.number)
        elif row.previous_hash != self._hash:
            self.report(
                row.number,
                Fault.NOT_CHAINED,
                f"it continues a row {row.number - 1} with the hash {row.previous_hash}, and that has {self._hash}",
            )
        if (own := row.own_hash()) != row.hash:
            self.report(row.number, Fault.EDITED, f"its hash is {row.hash}, and its fields give {own}")
        self._compare_time(row)
        self._number, self._hash = row.number, row.hash
        self._compare_heads(row)

    def end(self) -> Walked:
        """After the last row."""
        beyond = [head for number, heads in self._heads.items() if number > self._number for head in heads]
        if beyond:
            newest = max(beyond, key=lambda head: head.number)
            self.report(
                self._number + 1,
                Fault.CUT_OFF,
                f"the chain ends at row {self._number}, and row {newest.number} was published {newest.when}",
            )
        self._heads_compared += len(beyond)
        return Walked(
            rows=self._rows,
            first=self._first if self._rows else 0,
            last=self._number if self._rows else 0,
            head=self._hash,
            heads_compared=self._heads_compared,
            proven_by_heads=self._proven,
            findings=tuple(self._findings),
            findings_total=self._total,
        )

    def _report_gap(self, number: int) -> None:
        first, last = self._number + 1, number - 1
        which = f"row {first} is" if first == last else f"rows {first} to {last} are"
        self.report(first, Fault.MISSING, f"{which} not there; row {number} follows row {self._number}")

    def _compare_time(self, row: AuditRow) -> None:
        try:
            at = row.moment
        except ValueError:
            self.report(row.number, Fault.EDITED, f"{row.at!r} is no time")
            return
        if self._at is not None and at < self._at:
            self.report(row.number, Fault.TIME_BACK, f"it is of {row.at}, before row {self._number}")
        self._at = at

    def _compare_heads(self, row: AuditRow) -> None:
        for head in self._heads.get(row.number, ()):
            self._heads_compared += 1
            if head.hash == row.hash:
                self._proven = row.number
            else:
                self.report(
                    row.number,
                    Fault.REWRITTEN,
                    f"its hash is {row.hash}, and {head.hash} was published {head.when}; row {self._proven} still "
                    "agrees, so what differs lies after it",
                )

    def report(self, number: int, fault: Fault, detail: str) -> None:
        """A finding of the walk, or of who reads the rows."""
        self._total += 1
        if len(self._findings) < LISTED_MAX:
            self._findings.append(Finding(number, fault, detail))
