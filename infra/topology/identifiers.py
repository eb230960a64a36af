"""Names of things in the topology. They are `NewType`s: no cost at run time, no mixing up under mypy."""

import re
from typing import Final, NewType
from uuid import UUID

CellId = NewType("CellId", str)
UserId = NewType("UserId", UUID)
LineageId = NewType("LineageId", UUID)
BucketId = NewType("BucketId", int)
Epoch = NewType("Epoch", int)

CELL_ID_CHARACTERS_MAX: Final = 31
_CELL_ID = re.compile(rf"[a-z][a-z0-9-]{{0,{CELL_ID_CHARACTERS_MAX - 1}}}")


def parse_uuid(text: str) -> UUID:
    """Of a UUID's many spellings the one with hyphens between the groups, in small or capital letters; so an id has one
    name wherever it comes in. Raises ValueError for what Python's own reader takes besides: braces, `urn:`, hyphens
    anywhere, digits of other scripts, underscores, signs."""
    parsed = UUID(text)
    if str(parsed) != text.lower():
        raise ValueError("not a UUID as RFC 9562 writes it")
    return parsed


def parse_uuid_hex(text: str) -> UUID:
    """The 32 digits alone, as tokens of ours carry them. Raises ValueError."""
    parsed = UUID(text)
    if parsed.hex != text:
        raise ValueError("not the digits of a UUID")
    return parsed


def parse_cell_id(text: str) -> CellId:
    """A cell id names processes, topics and DNS labels, so it is short, lower case and starts with a letter. Raises
    ValueError."""
    if not _CELL_ID.fullmatch(text):
        raise ValueError(
            f"not a cell id: {text[:40]!r} (lower case letters, digits and dashes, at most {CELL_ID_CHARACTERS_MAX})"
        )
    return CellId(text)
