"""A dropped key is void only where a process says that it does not hold it; silence is no such word."""

from typing import Any

import pytest

from infra.backends.cell_spec import ProcessKind
from infra.security.keys import CUSTOMER_SIGNING_FILE, CUSTOMER_VERIFY_FILE, OPERATOR_VERIFY_FILE, ROUTE_FILE
from shardctl.keys import HELD_BY, judge_holder

WANTED = {
    CUSTOMER_SIGNING_FILE: frozenset({"c2"}),
    CUSTOMER_VERIFY_FILE: frozenset({"c2"}),
    ROUTE_FILE: frozenset({"r2"}),
    OPERATOR_VERIFY_FILE: frozenset({"o2"}),
}


def told(kind: ProcessKind, **others: list[str]) -> dict[str, Any]:
    return {"status": "ready", "keys": {file: sorted(WANTED[file]) for file in HELD_BY[kind]} | others}


@pytest.mark.parametrize("kind", HELD_BY)
def test_a_process_with_the_keys_of_the_files_is_current(kind: ProcessKind) -> None:
    assert judge_holder("p", kind, 7, told(kind), WANTED).is_current
    assert judge_holder("p", kind, 7, told(kind) | {"status": "not ready"}, WANTED).is_current


@pytest.mark.parametrize("kind", HELD_BY)
def test_one_that_holds_a_dropped_key_lacks_a_new_one_or_says_nothing_is_named(kind: ProcessKind) -> None:
    for file in HELD_BY[kind]:
        (new,) = WANTED[file]
        still = judge_holder("p", kind, 7, told(kind, **{file: ["old", new]}), WANTED)
        assert (still.is_current, still.detail) == (False, "still takes old")
        lacks = judge_holder("p", kind, 7, told(kind, **{file: []}), WANTED)
        assert (lacks.is_current, lacks.detail) == (False, f"does not know {new}")
    silent = judge_holder("p", kind, 7, {}, WANTED)
    assert not silent.is_current
    assert "pid 7" in silent.detail
    assert not judge_holder("p", kind, 7, {"status": "ready"}, WANTED).is_current


def test_one_that_does_not_run_reads_the_files_when_it_starts() -> None:
    assert judge_holder("p", ProcessKind.API, None, {}, WANTED).is_current
