"""What the two cells of a move say of it, and what the mover does next. Pure.

Nothing is concluded from what the mover remembers: an attempt that comes after a crash asks both cells and goes on from
what they say. Only the source knows whether the user has left, and it never takes that back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class SideState(StrEnum):
    """Of one move in one cell."""

    NONE = "none"
    """The cell has not met the move, or it was released or discarded there."""
    COPYING = "copying"
    HALTED = "halted"
    """Or was, until the lease ran out: the source has not been left either way."""
    DEPARTED = "departed"
    ARRIVING = "arriving"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Side:
    """What one cell answered."""

    state: SideState
    certificate: str | None = None
    """Of the source, since the user has left."""
    ownership_epoch: int | None = None
    write_seq: int | None = None


class Next(StrEnum):
    HAND_OVER = "hand over"
    """Halt, load, prove, depart, activate."""
    GO_FORWARD = "go forward"
    """The user has left the source: nothing but activation is right, however long it takes."""
    DONE = "done"
    LET_GO = "let go"
    """There is nothing to hand over: the user stays where they are."""


_NOT_LEFT: Final = frozenset({SideState.COPYING, SideState.HALTED})


def read_side(answer: Mapping[str, Any]) -> Side:
    """Raises ValueError for a state that this release does not know: what it means is not guessed."""
    return Side(
        SideState(answer["state"]),
        answer.get("certificate"),
        answer.get("ownership_epoch"),
        answer.get("write_seq"),
    )


def next_of(source: Side, target: Side) -> Next:
    """By what the cells of one move say now. Raises ValueError for what must not be: left without a certificate, or
    active in the target while the source has the user."""
    if source.state is SideState.DEPARTED:
        if source.certificate is None:
            raise ValueError("the source says that the user has left, and shows no certificate")
        return Next.DONE if target.state is SideState.ACTIVE else Next.GO_FORWARD
    if target.state is SideState.ACTIVE:
        raise ValueError(f"the target is active while the source says {source.state}")
    if source.state in _NOT_LEFT and target.state is SideState.ARRIVING:
        return Next.HAND_OVER
    return Next.LET_GO
