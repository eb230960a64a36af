"""The committed list of releases: which commit is the previous release."""

import re
from dataclasses import dataclass
from pathlib import Path

from infra.backends.checkout import project_root

PATH = project_root() / "tests" / "migration" / "releases.txt"
_LINE = re.compile(r"(?P<commit>[0-9a-f]{40}) (?P<name>[\w.-]+)")


@dataclass(frozen=True)
class ListedRelease:
    """One line."""

    commit: str
    name: str


def read_releases(path: Path = PATH) -> list[ListedRelease]:
    """Oldest first; empty until the first release is listed. Raises ValueError that names the line."""
    found: list[ListedRelease] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{path.name}:{number}: a line is a commit of 40 digits, a space and a name: {line!r}")
        if any(match["commit"] == listed.commit or match["name"] == listed.name for listed in found):
            raise ValueError(f"{path.name}:{number}: this commit or name is listed already")
        found.append(ListedRelease(match["commit"], match["name"]))
    return found
