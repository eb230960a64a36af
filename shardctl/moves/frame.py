"""The header of a frame: what of a user's rows a cell sends to the other. The rows behind it are none of our business.

A frame is four bytes (big-endian: the header's length), the header as JSON, then the tables' data one after another.
It goes from cell to cell as the bytes that came. A header that is not understood ends the move before anything was
handed over.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FORMAT: Final = 1
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one frame. Pages are smaller by far; what changed since one may be a busy user's hour. It is held in memory."""
_HEADER_BYTES_MAX: Final = 1024 * 1024
"""Thirty tables with their columns are some kilobytes."""
_LENGTH_BYTES: Final = 4


class FrameInvalid(Exception):
    """Not a frame of this move in a form that this release knows."""


@dataclass(frozen=True, slots=True)
class Attested:
    """One table as a cell attests it: of all the user's rows there, or of those the frame is about."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Header:
    kind: str
    snapshot: str | None
    """Opaque: since when the next frame is to tell of changes."""
    head: Mapping[str, Any] | None
    attest: str | None
    """`all`: every table is attested; `changed`: those that changed; None: the frame is not compared."""
    attested: Mapping[str, Attested]
    """By table, as the source says."""
    changed_rows: int
    rows: int
    """That travel in the frame."""
    size_bytes: int


def read_header(frame: bytes, move_id: str) -> Header:
    """Raises FrameInvalid."""
    length = int.from_bytes(frame[:_LENGTH_BYTES], "big")
    if not 0 < length <= min(_HEADER_BYTES_MAX, len(frame) - _LENGTH_BYTES):
        raise FrameInvalid(f"a header of {length} bytes in a frame of {len(frame)}")
    try:
        found = json.loads(frame[_LENGTH_BYTES : _LENGTH_BYTES + length])
        if found["format"] != FORMAT or found["move_id"] != move_id:
            raise FrameInvalid(f"format {found['format']} of move {found['move_id']}, not {FORMAT} of {move_id}")
        return _header(found, len(frame))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameInvalid(f"the header cannot be read: {error!r}") from error


def _header(found: Mapping[str, Any], size_bytes: int) -> Header:
    tables = found["tables"]
    return Header(
        kind=str(found["kind"]),
        snapshot=found.get("snapshot"),
        head=found.get("head"),
        attest=found.get("attest"),
        attested={
            table["table"]: Attested(_whole(table["total_rows"]), str(table["digest"]))
            for table in tables
            if table.get("digest") is not None
        },
        changed_rows=_whole(found["changed_rows"]),
        rows=sum(_whole(table["rows"]) for table in tables),
        size_bytes=size_bytes,
    )


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of rows")
    return value
