"""Where a result is kept: one JSON file per benchmark, day and commit, beside the benchmarks. Kept files are history:
names of figures do not change, or `beside` could not compare with an older checkout.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parents[1] / "benchmarks" / "results"
Say = Callable[[str], None]
"""Prints one line of progress."""
Result = tuple[dict[str, Any], Path]
"""The document, and the file that keeps it."""


def write_result(name: str, document: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    day = document["conditions"]["measured_at"][:10]
    short = document["conditions"]["commit"].partition("+")[0]
    path = RESULTS / f"{name}-{day}-{short}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
