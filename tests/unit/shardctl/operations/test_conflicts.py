"""Which operations may run at the same time: every pair of kinds that there is has its place in the matrix."""

import itertools

import pytest

from shardctl.operations.catalog import KINDS
from shardctl.operations.conflicts import _MATRIX, Excludes, excluded_by, excludes

PAIRS = [frozenset(pair) for pair in [*((kind, kind) for kind in KINDS), *itertools.combinations(sorted(KINDS), 2)]]
EXPECTED = """
cells.add        cells.add        fleet
cells.add        cells.archive    cell
cells.add        cells.reconcile  cell
cells.add        keys.rotate      fleet
cells.add        routers.restart  fleet
cells.archive    cells.archive    cell
cells.archive    cells.reconcile  cell
cells.archive    keys.rotate      none
cells.archive    routers.restart  none
cells.reconcile  cells.reconcile  cell
cells.reconcile  keys.rotate      none
cells.reconcile  routers.restart  none
keys.rotate      keys.rotate      fleet
keys.rotate      routers.restart  fleet
routers.restart  routers.restart  fleet
cells.calendar   cells.calendar   fleet
cells.calendar   cells.add        none
cells.calendar   cells.archive    none
cells.calendar   cells.reconcile  none
cells.calendar   control.prune    none
cells.calendar   keys.rotate      none
cells.calendar   routers.restart  none
control.prune    control.prune    fleet
control.prune    cells.add        none
control.prune    cells.archive    none
control.prune    cells.reconcile  none
control.prune    keys.rotate      none
control.prune    routers.restart  none
backup.create    backup.create    cell
backup.create    backup.rehearse  cell
backup.create    cells.add        cell
backup.create    cells.archive    none
backup.create    cells.calendar   none
backup.create    cells.reconcile  none
backup.create    control.prune    none
backup.create    keys.rotate      none
backup.create    routers.restart  none
backup.rehearse  backup.rehearse  cell
backup.rehearse  cells.add        cell
backup.rehearse  cells.archive    cell
backup.rehearse  cells.calendar   none
backup.rehearse  cells.reconcile  cell
backup.rehearse  control.prune    none
backup.rehearse  keys.rotate      none
backup.rehearse  routers.restart  none
users.move       users.move       user
users.move       backup.create    none
users.move       backup.rehearse  cell
users.move       cells.add        cell
users.move       cells.archive    none
users.move       cells.calendar   none
users.move       cells.reconcile  cell
users.move       control.prune    none
users.move       keys.rotate      none
users.move       routers.restart  none
"""


@pytest.mark.parametrize("line", EXPECTED.strip().splitlines())
def test_the_matrix(line: str) -> None:
    one, other, expected = line.split()
    assert excludes(one, other) == excludes(other, one) == expected


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: " ".join(sorted(pair)))
def test_every_pair_of_kinds_was_thought_of(pair: frozenset[str]) -> None:
    assert pair in _MATRIX
    assert any(frozenset(line.split()[:2]) == pair for line in EXPECTED.strip().splitlines())


def test_a_kind_that_nobody_thought_of_excludes() -> None:
    assert excludes("cells.add", "cells.explode") is Excludes.FLEET


def test_what_the_database_is_told() -> None:
    told = excluded_by("cells.archive", ["keys.rotate", "cells.reconcile", "cells.add"])
    assert told == {"keys.rotate": "none", "cells.reconcile": "cell", "cells.add": "cell"}
