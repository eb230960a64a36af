"""What a source gives and a target takes, byte for byte the same: a header and the rows of each table.

Four bytes of length (big-endian), the header as JSON, then each table's rows as one JSON array, one after another. Who
carries a frame reads the header only. A frame that is cut short, or says another length than it has, is refused whole.
"""

from typing import Any, Final, Literal

import msgspec

from infra.runtime.problem import Problem

FORMAT: Final = 1
FRAME_MAX_BYTES: Final = 64 * 2**20
"""A page has about one megabyte, a look at what changed some; a user with so much that is kept whole is refused."""
HEADER_MAX_BYTES: Final = 2**20


class TableRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    table: str
    columns: list[str]
    rows: int
    bytes: int
    replaces: bool
    """All rows of the user; those that are there and not here go."""
    digest: str | None = None
    """Of what the frame attests: hexadecimal."""
    total_rows: int | None = None
    """Of what the digest is over."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    move_id: str
    user_id: str
    kind: Literal["page", "catch_up", "halt"]
    tables: list[TableRows]
    changed_rows: int
    snapshot: str | None = None
    """Up to where the target knows the user after this one."""
    attest: Literal["all", "changed"] | None = None
    since: str | None = None
    """What came after it is what `changed` attests."""
    head: dict[str, Any] | None = None
    """The user's row."""
    work: dict[str, Any] | None = None
    """At a halt: rows by table that nobody may see yet."""


class Frame(msgspec.Struct, frozen=True):
    header: Header
    rows: list[bytes]
    """In the order of the header's tables."""


def encode_frame(frame: Frame) -> bytes:
    """Raises Problem 409 MOVE_TOO_LARGE."""
    header = msgspec.json.encode(frame.header)
    document = b"".join((len(header).to_bytes(4, "big"), header, *frame.rows))
    if len(document) > FRAME_MAX_BYTES:
        raise Problem(409, "MOVE_TOO_LARGE", f"{len(document)} bytes at once are more than {FRAME_MAX_BYTES}")
    return document


def decode_frame(document: bytes) -> Frame:
    """Raises Problem 422."""
    length = int.from_bytes(document[:4], "big")
    if len(document) < 4 or length > HEADER_MAX_BYTES or len(document) < 4 + length:
        raise _refused("it is no frame, or was cut short")
    try:
        header = msgspec.json.decode(document[4 : 4 + length], type=Header)
    except msgspec.MsgspecError as error:
        raise _refused(str(error)) from error
    rows, at = [], 4 + length
    for table in header.tables:
        rows.append(document[at : at + table.bytes])
        at += table.bytes
    if at != len(document):
        raise _refused(f"its header says {at} bytes, it has {len(document)}")
    return Frame(header, rows)


def _refused(why: str) -> Problem:
    return Problem(422, "FRAME_INVALID", why)
