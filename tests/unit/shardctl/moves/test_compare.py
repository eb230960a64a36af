"""A proof beside what the source attests: whatever is not equal, missing or unreadable is a difference."""

import json
from typing import Any

import pytest

from shardctl.moves.compare import differences, proven_tables, said
from shardctl.moves.frame import Attested, FrameInvalid, Header, read_header

HEAD = {"chain_head": "ab" * 32, "write_seq": 12}
TABLE: dict[str, Any] = {
    "table": "orders", "columns": ["order_id"], "rows": 2, "bytes": 90, "replaces": True, "digest": "d1",
    "total_rows": 9,
}  # fmt: skip
HEADER: dict[str, Any] = {
    "format": 1, "move_id": "m", "user_id": "u", "kind": "catch_up", "snapshot": "s2", "head": HEAD, "attest": "all",
    "tables": [TABLE, {**TABLE, "table": "postings", "digest": "d2", "total_rows": 40}], "changed_rows": 4,
}  # fmt: skip
PROOF: dict[str, Any] = {
    "tables": {"orders": {"rows": 9, "digest": "d1"}, "postings": {"rows": 40, "digest": "d2"}},
    "head": HEAD,
    "findings": {"entries_balance": 0},
}


def frame(document: object, *, length: int | None = None, rows: bytes = b"rows") -> bytes:
    encoded = json.dumps(document).encode()
    return (len(encoded) if length is None else length).to_bytes(4, "big") + encoded + rows


def header(**changed: Any) -> Header:
    return read_header(frame({**HEADER, **changed}), "m")


def test_an_equal_copy_has_no_difference() -> None:
    assert differences(header(), PROOF) == ()
    assert proven_tables(PROOF)["orders"] == Attested(9, "d1")


@pytest.mark.parametrize(
    ("proof", "said_of_it"),
    [
        ({**PROOF, "tables": {**PROOF["tables"], "orders": {"rows": 8, "digest": "d1"}}}, "orders: source 9 rows"),
        ({**PROOF, "tables": {**PROOF["tables"], "orders": {"rows": 9, "digest": "d3"}}}, "orders: source 9 rows d1"),
        ({**PROOF, "tables": {"orders": {"rows": 9, "digest": "d1"}}}, "postings: the target proves nothing"),
        (
            {**PROOF, "tables": {**PROOF["tables"], "deposits": {"rows": 0, "digest": "0"}}},
            "deposits: the source attests nothing",
        ),
        ({**PROOF, "head": {**HEAD, "write_seq": 13}}, "head: source"),
        ({**PROOF, "findings": {"entries_balance": 2}}, "check entries_balance: 2 rows"),
        ({**PROOF, "findings": {"entries_balance": None}}, "check entries_balance: None rows"),
        ({"tables": PROOF["tables"], "head": HEAD}, "the target ran no check"),
        ({"head": HEAD, "findings": {}}, "the target proves no table"),
        ({}, "the target proves no table"),
    ],
)
def test_each_difference_is_said(proof: dict[str, Any], said_of_it: str) -> None:
    found = differences(header(), proof)
    assert said(found).startswith(said_of_it)


def test_under_a_halt_only_what_changed_is_compared_and_the_head_always() -> None:
    one = header(kind="halt", attest="changed", tables=[TABLE], changed_rows=2)
    assert differences(one, PROOF) == ()
    nothing = header(kind="halt", attest="changed", tables=[{**TABLE, "digest": None}], changed_rows=0)
    assert differences(nothing, PROOF) == ()
    assert "head" in said(differences(nothing, {**PROOF, "head": {**HEAD, "write_seq": 13}}))
    unsaid = header(kind="halt", attest="changed", tables=[{**TABLE, "digest": None}], changed_rows=2)
    assert said(differences(unsaid, PROOF)) == "the source attests no table"
    headless = header(kind="halt", attest="changed", tables=[TABLE], head=None)
    assert "head" in said(differences(headless, {**PROOF, "head": None}))


def test_a_page_is_not_compared() -> None:
    assert differences(header(kind="page", attest=None, head=None), {}) == ()


def test_many_differences_are_counted() -> None:
    found = tuple(f"table {number}" for number in range(9))
    assert said(found).endswith("table 4 and 4 more")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x00\x00",
        frame(HEADER, length=0),
        frame(HEADER, length=2**31),
        frame({**HEADER, "format": 2}),
        frame({**HEADER, "move_id": "another"}),
        frame({key: value for key, value in HEADER.items() if key != "changed_rows"}),
        frame({**HEADER, "changed_rows": True}),
        frame({**HEADER, "changed_rows": -1}),
        frame({**HEADER, "tables": [{**TABLE, "total_rows": None}]}),
        frame([HEADER]),
        frame("text"),
        (3).to_bytes(4, "big") + b"\xff\xfe{",
    ],
    ids=range(13),
)
def test_a_frame_that_is_not_understood(broken: bytes) -> None:
    with pytest.raises(FrameInvalid):
        read_header(broken, "m")


def test_what_is_read_of_a_frame() -> None:
    read = header()
    assert (read.kind, read.snapshot, read.changed_rows, read.rows) == ("catch_up", "s2", 4, 4)
    assert read.attested["postings"] == Attested(40, "d2")
