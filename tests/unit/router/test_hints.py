"""What is remembered of a user who moved: the latest hint, until a map says as much; of a bounded number of users."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from infra.topology.identifiers import CellId, Epoch
from router.hints import Hint, Hints
from tests.support.routers import map_of

URLS = {"cell-1": ("http://127.0.0.1:1",), "cell-2": ("http://127.0.0.1:2",)}
USER = uuid.UUID(int=9)
STALE = map_of(URLS, epoch=900, since=3)


def hint(cell: str, epoch: int) -> Hint:
    return Hint(CellId(cell), Epoch(epoch))


def test_it_stands_beside_any_map_that_does_not_know_it_yet() -> None:
    hints = Hints()
    hints.remember(USER, hint("cell-2", 11))
    for newer in (STALE, map_of(URLS, epoch=901, since=3), map_of(URLS, epoch=902, since=10)):
        assert hints.ahead_of(newer, USER) == hint("cell-2", 11)
    assert hints.ahead_of(STALE, uuid.UUID(int=10)) is None
    caught_up = map_of(URLS, epoch=903, since=3, pins=[(USER, "cell-2")], pinned_since=11)
    assert hints.ahead_of(caught_up, USER) is None
    assert hints.ahead_of(STALE, USER) is None, "it is forgotten"


@given(st.permutations(range(4, 12)))
def test_the_latest_stays_in_whatever_order_they_are_heard(epochs: list[int]) -> None:
    hints = Hints()
    for epoch in epochs:
        hints.remember(USER, hint(f"cell-{epoch}", epoch))
    assert hints.ahead_of(STALE, USER) == hint("cell-11", 11)
    assert len(hints) == 1


def test_the_one_that_was_heard_first_makes_room() -> None:
    hints = Hints(kept_max=3)
    users = [uuid.UUID(int=number) for number in range(4)]
    for user in users[:3]:
        hints.remember(user, hint("cell-2", 11))
    hints.remember(users[0], hint("cell-1", 12))
    hints.remember(users[3], hint("cell-2", 11))
    assert [hints.ahead_of(STALE, user) is not None for user in users] == [True, False, True, True]
    hints.forget(users[0])
    hints.forget(users[0])
    assert len(hints) == 2
