"""Who may move where: judged from what was seen, before anything is touched."""

from typing import Any

import pytest

from shardctl.moves.prechecks import Sighting, apart_s, refusals, said

USER = "00000000-0000-4000-8000-000000000001"
CELL: dict[str, Any] = {"state": "open", "code": ["code_a"], "fenced": False, "clock_agrees": True}
SEEN: dict[str, Any] = {"cell": "cell-1", "owner_state": "active", "held": None}


def facts(*, source: dict[str, Any] | None = None, target: dict[str, Any] | None = None, **user: Any) -> dict[str, Any]:
    return {
        "known_cells": ["cell-1", "cell-2"],
        "cells": {"cell-1": {**CELL, **(source or {})}, "cell-2": {**CELL, **(target or {})}},
        "users": {USER: {**SEEN, **user}},
    }


def test_nothing_is_in_the_way() -> None:
    assert refusals(facts(), "cell-2") == []
    assert refusals(facts(source={"state": "cordoned"}), "cell-2") == []  # it is left, not entered


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (facts(target={"state": "cordoned"}), "cell-2 is cordoned: it takes nobody (`shardctl cells uncordon cell-2"),
        (facts(target={"state": "draining"}), "cell-2 is draining"),
        (facts(target={"fenced": True}), "cell-2 was restored and is not open: `shardctl cells unfence cell-2"),
        (facts(source={"fenced": True}), "cell-1 was restored"),
        (facts(source={"code": ["code_b"]}), "cell-1 and cell-2 run different releases"),
        (facts(target={"code": ["code_a", "code_b"]}), "the app servers of cell-2 do not all run one release"),
        (facts(target={"code": []}), "the app servers of cell-2 do not all run one release"),
        (facts(source={"clock_agrees": False}), "the clocks of cell-1 and cell-2 are more than 1 s apart"),
        (facts(cell=None, owner_state=None), "no cell serves their bucket"),
        (facts(cell="cell-2"), f"{USER} is in cell-2 already: nothing to do"),
        (facts(owner_state=None), "cell-1 has no such user"),
        (facts(owner_state="departed"), "is departed in cell-1"),
        (facts(owner_state="halted"), "is halted in cell-1"),
        (facts(held="by ann: subpoena 7"), "is held (by ann: subpoena 7): `shardctl users unhold"),
    ],
)
def test_each_reason_is_said_with_what_to_do(seen: dict[str, Any], why: str) -> None:
    assert why in said(refusals(seen, "cell-2"))


def test_a_cell_that_the_map_does_not_have() -> None:
    assert refusals(facts(), "cell-9") == ["there is no cell cell-9 in the map; there are: cell-1, cell-2"]


def test_many_reasons_are_counted() -> None:
    assert said([f"reason {number}" for number in range(8)]).endswith("reason 4; and 3 more")


@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [
        (Sighting(10.0, 10.0, 10.0), Sighting(20.0, 22.5, 20.0), 2.5),
        (Sighting(10.0, 8.0, 10.0), Sighting(20.0, 20.0, 20.0), 2.0),
        # The answer took four seconds: the clock may have been read at any moment of them.
        (Sighting(10.0, 12.0, 14.0), Sighting(20.0, 22.0, 20.0), 0.0),
        (Sighting(10.0, 12.0, 14.0), Sighting(20.0, 23.0, 20.0), 1.0),
    ],
)
def test_clocks_differ_by_no_less_than(one: Sighting, other: Sighting, seconds: float) -> None:
    assert apart_s(one, other) == apart_s(other, one) == pytest.approx(seconds)
