"""What was found, and what it amounts to. Pure.

The cell proves its own books; what the venue and Kafka say is brought by whoever runs the reconciliation, because a
cell knows the venue by its wire only. What could not be asked is never a pass.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from cell.ledger.trial_balance import AccountTotal, CheckResult


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
    """Records that Kafka ever took, against the events that the cell has published."""

    asked: bool
    order_records: int = 0
    order_events: int = 0
    ledger_records: int = 0
    ledger_events: int = 0
    reason: str | None = None

    @property
    def missing(self) -> int:
        """Events that cannot be there: more were published than records were written. Copies are no difference."""
        return max(0, self.order_events - self.order_records) + max(0, self.ledger_events - self.ledger_records)


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
        or (events.asked and events.missing > 0)
    )
    if is_different:
        return Verdict.DIFFERENT
    return Verdict.EQUAL if venue.asked and events.asked else Verdict.INCOMPLETE
