"""The states of an operation and of its steps, and the one transition table.

The database keeps the same table (`enter_state_v1.sql`) and refuses every other transition; a test compares the two.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Of an operation."""

    AWAITING_APPROVAL = "awaiting_approval"
    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    """What was done is being undone, newest first."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """A step failed for good; `resume` goes on there, `cancel` undoes what was done."""
    REFUSED = "refused"
    """The facts had changed since the plan: nothing was done."""
    CANCELLED = "cancelled"


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.AWAITING_APPROVAL: frozenset({State.PENDING, State.CANCELLED}),
    State.PENDING: frozenset({State.RUNNING, State.REFUSED, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLING}),
    State.CANCELLING: frozenset({State.CANCELLED, State.FAILED}),
    State.FAILED: frozenset({State.RUNNING, State.CANCELLING}),
    State.SUCCEEDED: frozenset(),
    State.REFUSED: frozenset(),
    State.CANCELLED: frozenset(),
}

ENDED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.REFUSED, State.CANCELLED})
"""Nothing happens any more unless somebody asks for it."""
WORKED_ON: Final = (State.PENDING, State.RUNNING, State.CANCELLING)
"""What the leader takes up."""
