"""An act of a person: done by whichever process of the service is asked, at once, in the person's name.

It is no operation: it has one step, and nobody is to be waited for that leads. Whoever revokes a user while the lead
changes hands is answered within the second. What it does is compared and set, or may be said twice, so a command whose
answer was lost may ask again. The audit chain has it by the same rows as any request (`auditing.py`).
"""

from collections.abc import Callable

import msgspec

from shardctl.audit.recording import check_reason
from shardctl.operations.resources import StackResources
from shardctl.operator_tokens import check_kept
from shardctl.persons import Person


class Reasoned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of an act on a cell or a person."""

    reason: str


REASONED = msgspec.json.Decoder(Reasoned)


class Acting:
    def __init__(self, open_resources: Callable[[str, str | None], StackResources]) -> None:
        """`open_resources` is given who acts and why."""
        self._open_resources = open_resources

    def by(self, person: Person, reason: str | None) -> StackResources:
        """What the act works on. Raises UsageError for a reason that others cannot read."""
        if reason is not None:
            check_reason(reason)
        return self._open_resources(person.subject, reason)

    def in_a_cell(self, person: Person, reason: str) -> StackResources:
        """As `by`, for an act that a cell keeps with the reason. Raises UsageError for one that it could not keep."""
        check_kept(reason)
        return self.by(person, reason)

    def looking(self, person: Person) -> StackResources:
        return self._open_resources(person.subject, None)
