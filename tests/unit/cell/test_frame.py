"""Frames of a move: what was written is read, and what was cut, lengthened or bent is refused whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.move.export import _parse_place
from cell.move.frame import Frame, Header, TableRows, decode_frame, encode_frame
from cell.move.ownership import MoveOrder
from cell.move.tables import PARTS, TABLES, short_name
from infra.runtime.problem import Problem


def frame(rows: list[bytes]) -> Frame:
    tables = [TableRows(f"brokerage.t{at}", ["a"], 1, len(data), False) for at, data in enumerate(rows)]
    return Frame(Header(1, "m", "u", "page", tables, 0), rows)


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_a_frame_is_read_as_it_was_written(rows: list[bytes]) -> None:
    assert decode_frame(encode_frame(frame(rows))) == frame(rows)


@given(st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_a_frame_that_is_not_whole_is_refused(rows: list[bytes], data: st.DataObject) -> None:
    document = encode_frame(frame(rows))
    cut = document[: data.draw(st.integers(0, len(document) - 1))]
    for broken in (cut, document + b"x"):
        with pytest.raises(Problem, match="FRAME_INVALID"):
            decode_frame(broken)


def test_a_header_says_nothing_that_is_not_known() -> None:
    header = json.dumps({"format": 2, "surprise": True}).encode()
    with pytest.raises(Problem, match="FRAME_INVALID"):
        decode_frame(len(header).to_bytes(4, "big") + header)


@pytest.mark.parametrize("value", ["", "1", "1-", "-1", "a-1", "1-²", "1" * 41])
def test_an_order_is_two_whole_numbers(value: str) -> None:
    with pytest.raises(Problem, match="Move-Order"):
        MoveOrder.parse(value)


def test_an_order_is_read() -> None:
    assert MoveOrder.parse("17-4") == MoveOrder(17, 4)
    assert MoveOrder.parse(None) is None


@pytest.mark.parametrize("place", ["x", [], [9, 0], [-1, 0], {"a": 1}])
def test_a_place_is_what_the_last_page_said(place: object) -> None:
    with pytest.raises(Problem, match="place"):
        _parse_place(place)
    assert _parse_place(None) == (0, PARTS[0].first)


def test_each_tables_name_is_short_and_its_own() -> None:
    names = [short_name(table.name) for table in TABLES]
    assert len(set(names)) == len(TABLES)
    assert "archive_postings" in names
