"""Which schema holds the code of this release: pure, from the package's files.

Routines and views of a release lie in `code_<hash>`, beside the tables of all releases. The hash covers the names of
the files, their texts with line ends made equal, and the version of the installer; never what a server makes of them
(eight views read differently after a dump and restore). So two builds of the same files share one schema, and whatever
changes them gets another one. The checks are no part of it: they are text that a process runs on its release's path.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from infra.runtime.sql_files import SqlFile, read_sql

INSTALLER_FORMAT: Final = 1
"""Raised when the installer makes something else of the same files: other grants, another path."""
FOLDERS: Final = ("views", "procedures", "grants")
"""In the order in which they are installed; `grants` say who may use the schema and what is in it."""
_TABLES_OF: Final = {"cell": "brokerage", "shardctl": "control"}
_HASH_CHARACTERS: Final = 12
"""48 bits: of a database's ten releases no two share them by chance. Short, because it is in every session's name."""
_SCHEMA: Final = re.compile(r"code_[0-9a-f]{12}")


@dataclass(frozen=True)
class ReleaseCode:
    """What is installed as one: the code of one package's release."""

    schema: str
    """`code_` and twelve hexadecimal digits."""
    tables: str
    """The schema of the tables, which is older and lives longer than any release."""
    files: tuple[tuple[str, SqlFile], ...]
    """Folder and file, in the order of installing."""

    def names(self, folder: str) -> frozenset[str]:
        """What the files of a folder create: one thing each, named as its file."""
        return frozenset(item.name.removesuffix(".sql") for where, item in self.files if where == folder)


@cache
def release_code(package: str) -> ReleaseCode:
    """The code that the package carries. Its files are read once in a process, which runs one release."""
    files = tuple((folder, item) for folder in FOLDERS for item in read_sql(package, folder))
    return ReleaseCode(schema_name(files), _TABLES_OF.get(package, package), files)


def schema_name(files: tuple[tuple[str, SqlFile], ...], installer_format: int = INSTALLER_FORMAT) -> str:
    """Every part is preceded by its length, so that no two sets of files spell the same bytes."""
    digest = hashlib.sha256(f"{installer_format}\n".encode())
    for folder, item in files:
        text = item.text.replace("\r\n", "\n").replace("\r", "\n")
        for part in (folder, item.name, text):
            data = part.encode()
            digest.update(b"%d:" % len(data) + data)
    return f"code_{digest.hexdigest()[:_HASH_CHARACTERS]}"


def session_path(schema: str) -> str:
    """The search path of a session of that release. Without the tables' schema: an unqualified name is this release's
    code or an error. Raises ValueError if that is no schema of code: it becomes part of a connection's options."""
    if not _SCHEMA.fullmatch(schema):
        raise ValueError(f"{schema!r} is no schema of a release's code: code_ and 12 hexadecimal digits")
    return f"{schema},pg_temp"
