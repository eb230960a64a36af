"""The SQL files that a package carries, as they lie in `<package>/sql/<folder>/*.sql`. Reads only."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import LiteralString


@dataclass(frozen=True)
class SqlFile:
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_sql(package: str, folder: str) -> list[SqlFile]:
    """The package's files of one folder, sorted by name; an absent folder is empty."""
    root = files(package).joinpath("sql", folder)
    if not root.is_dir():
        return []
    found = [SqlFile(item.name, item.read_text("utf-8")) for item in root.iterdir() if item.name.endswith(".sql")]
    return sorted(found, key=lambda item: item.name)


def as_sql(text: str) -> LiteralString:
    """The text is a file of the installed package, or made of its names: as fixed as a literal in the source."""
    return text
