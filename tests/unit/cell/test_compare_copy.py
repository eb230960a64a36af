"""A restored copy against its source: who wrote nothing since is equal in everything, who wrote on goes on from it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cell.incarnations.compare import CopyComparison, compare_page

A, B = UUID(int=1), UUID(int=2)
T0 = datetime(2026, 1, 2, tzinfo=UTC)


def row(user: UUID = A, **changed: Any) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "user_id": user, "created_at": T0, "write_seq": 5, "entry_seq": 3, "order_event_seq": 4,
        "chain_head": b"h3", "cash_micros": 100, "cash_held_micros": 10,
        "numbers": {"orders": 2, "positions": 1}, "digests": {"orders": "17", "positions": "-3"},
    }  # fmt: skip
    return figures | changed


def compared(copies: list[dict[str, Any]], sources: list[dict[str, Any]], **hashes: bytes) -> CopyComparison:
    found = CopyComparison()
    compare_page(found, copies, sources, {A: hashes.get("a", b"h3")}, T0)
    return found


def test_who_wrote_nothing_since_is_equal() -> None:
    found = compared([row()], [row()])
    assert (found.users, found.equal, found.differences) == (1, 1, 0)
    assert found.totals == {
        "orders": 2, "positions": 1, "executions": 0, "entry_seq": 3, "cash_micros": 100, "cash_held_micros": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"cash_micros": 101},
        {"chain_head": b"h4"},
        {"numbers": {"orders": 2, "positions": 2}},
        {"digests": {"orders": "17", "positions": "-4"}},
    ],
)
def test_the_same_number_of_writes_and_anything_else_differs(changed: dict[str, Any]) -> None:
    found = compared([row()], [row(**changed)])
    assert (found.equal, found.differences) == (0, 1)
    assert next(iter(changed)) in found.sample[0]["what"]


def test_who_wrote_on_holds_the_copys_ledger_as_the_beginning() -> None:
    later = row(write_seq=9, entry_seq=5, order_event_seq=7, chain_head=b"h5", cash_micros=0, digests={})
    assert compared([row()], [later]).traded_on == 1
    forked = compared([row()], [later], a=b"other")
    assert (forked.traded_on, forked.differences) == (0, 1)
    nothing_yet = row(entry_seq=0, chain_head=b"0")
    assert compared([nothing_yet], [later], a=b"other").traded_on == 1


@pytest.mark.parametrize("changed", [{"write_seq": 4}, {"write_seq": 6, "entry_seq": 2}])
def test_a_source_is_never_behind_its_copy(changed: dict[str, Any]) -> None:
    assert compared([row()], [row(**changed)]).sample[0]["what"] == "the source is behind its copy"


def test_users_that_only_one_of_them_has() -> None:
    assert compared([row()], []).sample == [{"user_id": str(A), "what": "not in the source"}]
    younger = compared([row()], [row(), row(B, created_at=T0 + timedelta(seconds=1))])
    assert (younger.only_in_source, younger.differences) == (1, 0)
    older = compared([row()], [row(), row(B, created_at=T0 - timedelta(minutes=2))])
    assert (older.only_in_source, older.differences) == (1, 1)
