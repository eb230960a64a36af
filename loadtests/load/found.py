"""What was found once a run was over, kept beside it, so that the run can be judged again without its stack.

found.json of a run's folder. Samples and journal are not repeated in it.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from loadtests.load.books import CellBooks
from loadtests.load.order_audit import Audit

FOUND_FILE: Final = "found.json"


class Found(msgspec.Struct, frozen=True):
    audit: Audit
    books: list[CellBooks]
    conditions: dict[str, Any]
    """Of the machine and the stack, in words."""


class RunNotKept(Exception):
    """The folder does not hold what a verdict needs."""


def write_found(folder: Path, found: Found) -> None:
    (folder / FOUND_FILE).write_bytes(msgspec.json.encode(found))


def read_found(folder: Path) -> Found | None:
    """None: nobody has asked yet (a run of Locust alone). Raises RunNotKept for a damaged file."""
    try:
        return msgspec.json.decode((folder / FOUND_FILE).read_bytes(), type=Found)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise RunNotKept(f"{folder / FOUND_FILE} is damaged: {error}") from error
