"""Numbers of events that a restore has lost: Kafka holds them, the cell's books never will. Pure.

Who was released after a restore goes on behind them. A comparison leaves them out and closes the holes: what is behind
a lost range moves forward by its length, so that neighbours in the books are neighbours here.
"""

from collections.abc import Sequence

Ranges = Sequence[tuple[int, int]]
"""First and last number, ascending, apart from each other."""


def close_holes(seq: int, lost: Ranges) -> int | None:
    """The number without those that are lost before it; None for one that is lost itself."""
    closed = seq
    for first, last in lost:
        if seq < first:
            break
        if seq <= last:
            return None
        closed -= last - first + 1
    return closed


def count_until(seq: int, lost: Ranges) -> int:
    """How many numbers up to `seq` are not lost."""
    return seq - sum(min(seq, last) - first + 1 for first, last in lost if first <= seq)


def open_holes(closed: int, lost: Ranges) -> int:
    """The number that `close_holes` made `closed` of."""
    seq = closed
    for first, last in lost:
        if seq < first:
            break
        seq += last - first + 1
    return seq
