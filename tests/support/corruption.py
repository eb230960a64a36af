"""A corruption of a cell's books, for the checks to find."""

from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True)
class Corruption:
    """What somebody with every privilege does to the books, and the checks that must speak; others may, too."""

    name: str
    statement: LiteralString
    found_by: tuple[str, ...]
