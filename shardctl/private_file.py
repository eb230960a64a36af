"""Small files of one person: replaced whole, readable for nobody else.

A reader sees the old file or the new one, also after a crash. A link is followed, so that a file kept elsewhere (with
other settings of its owner, under version control) stays there.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.backends.replaced_file import replace_file


def own_folder(environment: Mapping[str, str], variable: str, default: str) -> Path:
    """The person's folder for files of ours. XDG: a relative folder in the variable does not count."""
    base = Path(environment.get(variable, ""))
    return (base if base.is_absolute() else Path.home() / default) / "cell-brokerage"


def replace_private(path: Path, text: str) -> None:
    """Mode 0600; makes the folder (0700) if there is none. Raises OSError."""
    target = path.resolve()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(target, text.encode(), mode=0o600)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """One at a time reads, changes and replaces a file of this folder; the others wait. Raises OSError."""
    folder = path.resolve().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
