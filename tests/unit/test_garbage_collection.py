"""What exists at the start is never looked at again; cycles that come later are still found."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from infra.runtime.garbage_collection import YOUNG_MAX, freeze_startup_objects


class Node:
    """Something that refers to itself, so that only the collector ends it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector_of_the_other_tests() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_came_with_the_start_is_frozen() -> None:
    gc.collect()  # what is garbage already is not kept
    before = len(gc.get_objects())
    freeze_startup_objects()
    assert gc.get_freeze_count() >= before * 0.9
    assert len(gc.get_objects()) < before * 0.1


def test_cycles_of_before_are_collected_first_and_those_of_later_as_they_come() -> None:
    early = weakref.ref(Node())
    freeze_startup_objects()
    assert early() is None
    late = weakref.ref(Node())
    crowd = [[] for _ in range(YOUNG_MAX + 1)]  # type: ignore[var-annotated]
    assert late() is None
    assert len(crowd) > YOUNG_MAX
