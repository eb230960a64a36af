"""Which build this process runs, named by the content of its packages' files.

So two equal checkouts are one release, an edited one is another, and nobody has to say which it is. Samples of
counters, readiness and `build_info` carry the name: who judges a release compares processes by it.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import infra

_PACKAGES: Final = ("aggregator", "cell", "exchange", "infra", "router", "shardctl")
"""All of them in every process: a router runs routines of the control database, which `shardctl` carries."""
_SUFFIXES: Final = (".py", ".sql")
_CHARACTERS: Final = 12
"""48 bits, as in the name of a release's code in a database."""


@cache
def build_id() -> str:
    """Twelve hexadecimal digits. Read once, when the process starts: what is edited later is not what it runs."""
    return hash_files(Path(infra.__file__).parents[1])


def hash_files(root: Path, packages: tuple[str, ...] = _PACKAGES) -> str:
    """Of the code in these packages below `root`; a file is its path and its bytes. Reads only."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in _SUFFIXES:
                for part in (path.relative_to(root).as_posix().encode(), path.read_bytes()):
                    digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()[:_CHARACTERS]
