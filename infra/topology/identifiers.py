"""Names of things in the topology. They are `NewType`s: no cost at run time, no mixing up under mypy."""

import re
from typing import NewType
from uuid import UUID

CellId = NewType("CellId", str)
UserId = NewType("UserId", UUID)
LineageId = NewType("LineageId", UUID)
BucketId = NewType("BucketId", int)
Epoch = NewType("Epoch", int)

_CELL_ID = re.compile(r"[a-z][a-z0-9-]{0,30}")


def parse_cell_id(text: str) -> CellId:
    """A cell id names processes, topics and DNS labels, so it is short, lower case and starts with a letter."""
    if not _CELL_ID.fullmatch(text):
        raise ValueError(f"not a cell id: {text[:40]!r} (lower case letters, digits and dashes, at most 31)")
    return CellId(text)
