"""Which kinds of operations exclude which: the one matrix.

A pair that is not named here excludes each other everywhere: who adds a kind says what it may run beside. The database
asks this of every operation that has not ended, under the lock that all creators take (`refuse_conflict_v1.sql`).
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Excludes(StrEnum):
    NONE = "none"
    USER = "user"
    """If both concern the same user."""
    CELL = "cell"
    """If both concern the same cell."""
    FLEET = "fleet"
    """Always."""


_MATRIX: Final[Mapping[frozenset[str], Excludes]] = {
    # Both only read or move old rows of one cell; two of the same kind would do the work twice.
    frozenset({"cells.reconcile"}): Excludes.CELL,
    frozenset({"cells.archive"}): Excludes.CELL,
    # The archive moves rows that the reconciliation is counting.
    frozenset({"cells.archive", "cells.reconcile"}): Excludes.CELL,
    # Routers hold no cell's books.
    frozenset({"cells.archive", "routers.restart"}): Excludes.NONE,
    frozenset({"cells.reconcile", "routers.restart"}): Excludes.NONE,
    # A cell that joins has no books to look at yet; the others are not touched.
    frozenset({"cells.add", "cells.archive"}): Excludes.CELL,
    frozenset({"cells.add", "cells.reconcile"}): Excludes.CELL,
    # Cells are asked with tokens of either key while one is rotated: only --drop-old would cut a walk off.
    frozenset({"cells.archive", "keys.rotate"}): Excludes.NONE,
    frozenset({"cells.reconcile", "keys.rotate"}): Excludes.NONE,
    # Each changes which processes run, or what all of them hold, and waits for all of them to say so.
    frozenset({"cells.add"}): Excludes.FLEET,
    frozenset({"keys.rotate"}): Excludes.FLEET,
    frozenset({"routers.restart"}): Excludes.FLEET,
    frozenset({"cells.add", "keys.rotate"}): Excludes.FLEET,
    frozenset({"cells.add", "routers.restart"}): Excludes.FLEET,
    frozenset({"keys.rotate", "routers.restart"}): Excludes.FLEET,
    # One job after the other under the stack's lock, of rows that nobody else writes.
    frozenset({"cells.calendar"}): Excludes.FLEET,
    frozenset({"cells.add", "cells.calendar"}): Excludes.NONE,
    frozenset({"cells.archive", "cells.calendar"}): Excludes.NONE,
    frozenset({"cells.calendar", "cells.reconcile"}): Excludes.NONE,
    frozenset({"cells.calendar", "control.prune"}): Excludes.NONE,
    frozenset({"cells.calendar", "keys.rotate"}): Excludes.NONE,
    frozenset({"cells.calendar", "routers.restart"}): Excludes.NONE,
    # Rows of the control database that are too old to be anybody's.
    frozenset({"control.prune"}): Excludes.FLEET,
    frozenset({"cells.add", "control.prune"}): Excludes.NONE,
    frozenset({"cells.archive", "control.prune"}): Excludes.NONE,
    frozenset({"cells.reconcile", "control.prune"}): Excludes.NONE,
    frozenset({"control.prune", "keys.rotate"}): Excludes.NONE,
    frozenset({"control.prune", "routers.restart"}): Excludes.NONE,
    # One at a time works on the backups of a database; the databases themselves are only read.
    frozenset({"backup.create"}): Excludes.CELL,
    frozenset({"backup.rehearse"}): Excludes.CELL,
    frozenset({"backup.create", "backup.rehearse"}): Excludes.CELL,
    frozenset({"backup.create", "cells.add"}): Excludes.CELL,
    frozenset({"backup.create", "cells.archive"}): Excludes.NONE,
    frozenset({"backup.create", "cells.calendar"}): Excludes.NONE,
    frozenset({"backup.create", "cells.reconcile"}): Excludes.NONE,
    frozenset({"backup.create", "control.prune"}): Excludes.NONE,
    frozenset({"backup.create", "keys.rotate"}): Excludes.NONE,
    frozenset({"backup.create", "routers.restart"}): Excludes.NONE,
    # A rehearsal compares its copy with rows that the archive moves; and two full readings of a cell are one too many.
    frozenset({"backup.rehearse", "cells.archive"}): Excludes.CELL,
    frozenset({"backup.rehearse", "cells.reconcile"}): Excludes.CELL,
    frozenset({"backup.rehearse", "cells.add"}): Excludes.CELL,
    frozenset({"backup.rehearse", "cells.calendar"}): Excludes.NONE,
    frozenset({"backup.rehearse", "control.prune"}): Excludes.NONE,
    frozenset({"backup.rehearse", "keys.rotate"}): Excludes.NONE,
    frozenset({"backup.rehearse", "routers.restart"}): Excludes.NONE,
    # A user moves once at a time; two of one pair of cells, also in both directions, do not meet.
    frozenset({"users.move"}): Excludes.USER,
    # Both compare a cell's rows with what is kept elsewhere, while users come and go.
    frozenset({"cells.reconcile", "users.move"}): Excludes.CELL,
    frozenset({"backup.rehearse", "users.move"}): Excludes.CELL,
    # A cell that joins has nobody yet, and is no target before it is in the map.
    frozenset({"cells.add", "users.move"}): Excludes.CELL,
    # The archive leaves a user alone whom a move has, and an arriving copy.
    frozenset({"cells.archive", "users.move"}): Excludes.NONE,
    frozenset({"backup.create", "users.move"}): Excludes.NONE,
    frozenset({"cells.calendar", "users.move"}): Excludes.NONE,
    frozenset({"control.prune", "users.move"}): Excludes.NONE,
    # Each request is signed by the key of its moment; routers hold no user.
    frozenset({"keys.rotate", "users.move"}): Excludes.NONE,
    frozenset({"routers.restart", "users.move"}): Excludes.NONE,
}


def excludes(kind: str, other: str) -> Excludes:
    """May the two run at the same time?"""
    return _MATRIX.get(frozenset({kind, other}), Excludes.FLEET)


def excluded_by(kind: str, known: Iterable[str]) -> dict[str, str]:
    """What the database is told: for each known kind how it excludes `kind`. Kinds that are not named exclude."""
    return {other: str(excludes(kind, other)) for other in known}
