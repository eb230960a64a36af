"""May these users move to that cell? Judged from what was seen, before anything is touched. Pure.

Cells of two releases do not exchange users: their forms may differ, and code that is named by its content has no order
by which one would be the older. A cell that does not answer, or was restored and is not open, exchanges none either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

CLOCKS_APART_MAX_S: Final = 1.0
"""A user's time never goes back: in the new cell everything they do is recorded no earlier than their last time in the
old one, so a difference shows in every time after the move."""
_NAMED_MAX: Final = 5
"""Reasons in one refusal; the list is mended step by step anyway."""
OPEN: Final = "open"
ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a cell's clock said, and when it was asked and had answered by ours; seconds since 1970."""

    asked_s: float
    said_s: float
    answered_s: float


def apart_s(one: Sighting, other: Sighting) -> float:
    """The least by which the two clocks differ: a slow answer says less, and never more."""
    lows = (one.said_s - one.answered_s, other.said_s - other.answered_s)
    highs = (one.said_s - one.asked_s, other.said_s - other.asked_s)
    return max(0.0, max(lows) - min(highs))


def refusals(facts: Mapping[str, Any], to: str) -> list[str]:
    """One sentence each; none: they may move. `facts` is what `looking.py` has seen."""
    cells = facts["cells"]
    if to not in cells:
        return [f"there is no cell {to} in the map; there are: {', '.join(facts['known_cells'])}"]
    found = list(_of_target(to, cells[to]))
    for cell, seen in sorted(cells.items()):
        if cell != to:
            found.extend(_of_source(cell, seen, to, cells[to]))
    for user, seen in facts["users"].items():
        found.extend(_of_user(user, seen, to))
    return found


def said(found: list[str]) -> str:
    more = f"; and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else ""
    return "; ".join(found[:_NAMED_MAX]) + more


def _of_target(to: str, seen: Mapping[str, Any]) -> Iterator[str]:
    if seen["state"] != OPEN:
        yield f"{to} is {seen['state']}: it takes nobody (`shardctl cells uncordon {to} --reason WHY`)"
    yield from _of_cell(to, seen)


def _of_source(cell: str, seen: Mapping[str, Any], to: str, target: Mapping[str, Any]) -> Iterator[str]:
    yield from _of_cell(cell, seen)
    if seen["code"] != target["code"]:
        yield f"{cell} and {to} run different releases: let the one that is behind catch up first (`shardctl up`)"
    if not seen["clock_agrees"]:
        yield f"the clocks of {cell} and {to} are more than {CLOCKS_APART_MAX_S:g} s apart: set them first"


def _of_cell(cell: str, seen: Mapping[str, Any]) -> Iterator[str]:
    if seen["fenced"]:
        yield f"{cell} was restored and is not open: `shardctl cells unfence {cell} --reason WHY`"
    if len(seen["code"]) != 1:
        yield f"the app servers of {cell} do not all run one release: `shardctl status`"


def _of_user(user: str, seen: Mapping[str, Any], to: str) -> Iterator[str]:
    if seen["cell"] is None:
        yield f"{user}: no cell serves their bucket"
    elif seen["held"] is not None:
        yield f"{user} is held ({seen['held']}): `shardctl users unhold {user} --reason WHY`"
    elif seen["cell"] == to:
        yield f"{user} is in {to} already: nothing to do"
    elif seen["owner_state"] is None:
        yield f"{user}: {seen['cell']} has no such user"
    elif seen["owner_state"] != ACTIVE:
        yield f"{user} is {seen['owner_state']} in {seen['cell']}: `shardctl users show {user}`"
