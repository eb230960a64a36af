"""Copy a backup's files by `cp`: a step that is cancelled ends it, and one that was killed leaves it with a mark.

A thread would go on copying for as long as the tree is large, into a folder that is being removed. `-R -P -p` is what
every `cp` has: links stay links, and mode and times are kept.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.backends.backend import BackendError
from infra.backends.local.postgres_tools import run_tool

_SAID_CHARACTERS: Final = 500
"""Of what `cp` says; the last line names the file, and whether the disk is full."""


async def copy_tree(source: Path, target: Path, marks: Mapping[str, str]) -> None:
    """A new folder like `source`, private to who runs this. Raises BackendError, FileExistsError."""
    os.mkdir(target, 0o700)
    await _copy(["-R", "-P", "-p", f"{source}/.", str(target)], marks)
    os.chmod(target, 0o700)


async def copy_file(source: Path, target: Path, marks: Mapping[str, str]) -> None:
    """Raises BackendError."""
    await _copy([str(source), str(target)], marks)


async def _copy(arguments: list[str], marks: Mapping[str, str]) -> None:
    result = await run_tool(["cp", *arguments], marks=marks)
    if result.exit_code != 0:
        raise BackendError(f"copying failed: {result.output[-_SAID_CHARACTERS:].strip()}")
