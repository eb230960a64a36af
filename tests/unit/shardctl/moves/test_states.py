"""What the mover does next is decided by what both cells say now, never by what it remembers."""

import itertools

import pytest

from shardctl.moves.states import Next, Side, SideState, next_of, read_side

LEFT = Side(SideState.DEPARTED, "the certificate")


@pytest.mark.parametrize(
    ("source", "target", "todo"),
    [
        (Side(SideState.COPYING), Side(SideState.ARRIVING), Next.HAND_OVER),
        (Side(SideState.HALTED), Side(SideState.ARRIVING), Next.HAND_OVER),
        (LEFT, Side(SideState.ARRIVING), Next.GO_FORWARD),
        (LEFT, Side(SideState.NONE), Next.GO_FORWARD),
        (LEFT, Side(SideState.ACTIVE), Next.DONE),
        (Side(SideState.NONE), Side(SideState.ARRIVING), Next.LET_GO),
        (Side(SideState.COPYING), Side(SideState.NONE), Next.LET_GO),
        (Side(SideState.NONE), Side(SideState.NONE), Next.LET_GO),
    ],
)
def test_what_is_next(source: Side, target: Side, todo: Next) -> None:
    assert next_of(source, target) is todo


def test_whoever_has_left_is_never_let_go_and_nobody_else_goes_forward() -> None:
    for source, target in itertools.product(SideState, SideState):
        if SideState.ACTIVE in (source, target) and source is not SideState.DEPARTED:
            continue
        todo = next_of(Side(source, "the certificate"), Side(target))
        assert (todo in (Next.GO_FORWARD, Next.DONE)) == (source is SideState.DEPARTED)


def test_what_must_not_be_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="shows no certificate"):
        next_of(Side(SideState.DEPARTED), Side(SideState.ARRIVING))
    with pytest.raises(ValueError, match="the target is active while the source says copying"):
        next_of(Side(SideState.COPYING), Side(SideState.ACTIVE))
    with pytest.raises(ValueError, match="resting"):
        read_side({"state": "resting"})
    read = read_side({"state": "active", "ownership_epoch": 7, "write_seq": 12})
    assert read == Side(SideState.ACTIVE, None, 7, 12)
