"""What was found, and what it amounts to. Pure.

The cell proves its own books; what the venue and Kafka say is brought by whoever runs the reconciliation, because a
cell knows the venue by its wire only. What could not be asked is never a pass.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from cell.trial_balance import AccountTotal, CheckResult


class Verdict(StrEnum):
    EQUAL = "equal"
    DIFFERENT = "different"
    INCOMPLETE = "incomplete"


class VenueFindings(msgspec.Struct, forbid_unknown_fields=True):
    """The orders of the cell against the venue's, each looked at until it was equal or stayed different."""

    asked: bool
    compared: int = 0
    differences: int = 0
    sample: list[dict[str, Any]] = []
    reason: str | None = None
    """Why it was not asked."""


class EventFindings(msgspec.Struct, forbid_unknown_fields=True):
    """The events that Kafka has, each counted once, against those that the cell has published for sure."""

    asked: bool
    order_records: int = 0
    order_events: int = 0
    ledger_records: int = 0
    ledger_events: int = 0
    copies: int = 0
    """Second copies: no difference, and they make up for nothing."""
    missing: int = 0
    """Events by user, stream and number that are not there."""
    unknown: int = 0
    """Events that are there and were never written."""
    broken_links: int = 0
    """Ledger events that do not continue or end the published chain of their user."""
    malformed: int = 0
    """Records that are no event."""
    sample: list[dict[str, Any]] = []
    reason: str | None = None

    @property
    def differences(self) -> int:
        """Fewer events than were published is a difference by itself, whatever was said of single ones."""
        fewer = max(0, self.order_events - self.order_records) + max(0, self.ledger_events - self.ledger_records)
        return max(fewer, self.missing) + self.unknown + self.broken_links + self.malformed


def unbalanced_units(totals: Sequence[AccountTotal]) -> list[str]:
    """Units whose debits and credits differ over all accounts."""
    sums: dict[str, int] = {}
    for total in totals:
        sums[total.unit] = sums.get(total.unit, 0) + total.debit_micros - total.credit_micros
    return sorted(unit for unit, difference in sums.items() if difference)


def judge(
    checks: Sequence[CheckResult], totals: Sequence[AccountTotal], venue: VenueFindings, events: EventFindings
) -> Verdict:
    """Any difference is different, whatever else could not be asked."""
    is_different = (
        any(check.violations for check in checks)
        or bool(unbalanced_units(totals))
        or venue.differences > 0
        or (events.asked and events.differences > 0)
    )
    if is_different:
        return Verdict.DIFFERENT
    return Verdict.EQUAL if venue.asked and events.asked else Verdict.INCOMPLETE
