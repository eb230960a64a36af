"""Numbers that a restore has lost are left out, and the holes that they leave are closed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardctl.events.lost import close_holes, count_until, open_holes

LOST = ((3, 5), (9, 9))


@pytest.mark.parametrize(("seq", "closed"), [(1, 1), (2, 2), (3, None), (5, None), (6, 3), (8, 5), (9, None), (10, 6)])
def test_what_is_behind_a_hole_moves_forward(seq: int, closed: int | None) -> None:
    assert close_holes(seq, LOST) == closed


@pytest.mark.parametrize(("seq", "count"), [(0, 0), (2, 2), (4, 2), (5, 2), (6, 3), (9, 5), (12, 8)])
def test_how_many_are_not_lost(seq: int, count: int) -> None:
    assert count_until(seq, LOST) == count


@given(st.sets(st.integers(min_value=1, max_value=40)), st.integers(min_value=1, max_value=60))
def test_a_number_that_is_not_lost_comes_back(lost: set[int], seq: int) -> None:
    ranges = [(number, number) for number in sorted(lost)]
    closed = close_holes(seq, ranges)
    assert (closed is None) == (seq in lost)
    if closed is not None:
        assert open_holes(closed, ranges) == seq
        assert count_until(seq, ranges) == closed
