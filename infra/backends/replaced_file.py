"""A file is replaced whole: a reader sees the old one or the new one, also after a crash.

The standard library alone: completion imports it.
"""

import os
import secrets
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write beside and rename. Raises OSError, and leaves nothing beside it."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
