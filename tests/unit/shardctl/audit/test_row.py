"""The form that is hashed: written down here byte by byte, so that nobody changes it by mistake."""

import hashlib
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest

from shardctl.audit.head import Head, HeadMalformed, decode_head, encode_head
from shardctl.audit.heads import PUBLISH_S
from shardctl.audit.row import GENESIS_HASH, AuditRow, RowMalformed, decode_row, encode_row, row_of

ROW = AuditRow(
    1, "2026-11-30T15:00:00.000000Z", None, "ann", "admin", "socket", "cells.cordon", "cell-1", '{"a": 1}', "größer",
    None, None, GENESIS_HASH, "",
)  # fmt: skip
BYTES = (
    f"7:audit/1,1:1,64:{GENESIS_HASH},27:2026-11-30T15:00:00.000000Z,-,3:ann,5:admin,6:socket,12:cells.cordon,"
    '6:cell-1,8:{"a": 1},8:größer,-,-,'
)


def test_the_form() -> None:
    assert ROW.own_hash() == hashlib.sha256(BYTES.encode()).hexdigest()


def test_every_field_counts_and_none_runs_into_the_next() -> None:
    changed = {name: replace(ROW, **other).own_hash() for name, other in _others().items()}
    assert len({*changed.values(), ROW.own_hash()}) == len(changed) + 1
    moved = replace(ROW, act="cells.cordonc", target="ell-1").own_hash()
    assert moved != ROW.own_hash()
    assert replace(ROW, reason=None).own_hash() != replace(ROW, reason="").own_hash()


def _others() -> dict[str, dict[str, Any]]:
    """By field: another value for it."""
    found: dict[str, dict[str, Any]] = {}
    for name in [field.name for field in fields(ROW) if field.name != "hash"]:
        value = getattr(ROW, name)
        is_number = name in ("number", "ends")
        found[name] = {name: (value or 0) + 1 if is_number else f"{value or ''}x"}
    return found


def test_a_line_is_read_as_it_was_written() -> None:
    assert decode_row(encode_row(ROW)) == ROW
    assert row_of(msgspec.json.decode(encode_row(ROW))) == ROW
    for line in (b"", b"{}", b'{"number": "1"}', b"\xff"):
        with pytest.raises(RowMalformed):
            decode_row(line)
    with pytest.raises(RowMalformed):
        row_of({"number": 1})


def test_a_head_is_read_with_the_place_where_it_was_found() -> None:
    head = Head(7, "ab" * 32, "2026-11-30T15:00:00.000000Z")
    read = decode_head(encode_head(head), "audit-heads/3@9")
    assert replace(read, place="") == head
    assert read.when == "at 2026-11-30T15:00:00.000000Z (audit-heads/3@9)"
    with pytest.raises(HeadMalformed, match="audit-heads/3@9"):
        decode_head(b"{}", "audit-heads/3@9")
    assert PUBLISH_S > 0
