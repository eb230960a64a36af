"""The checkout that runs: where it lies, at which commit it is, and which stack is its own."""

import hashlib
import re
from pathlib import Path
from typing import Final

import infra

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def project_root() -> Path:
    return Path(infra.__file__).resolve().parent.parent


def default_stack_name() -> str:
    """One stack per checkout, so that two clones on one machine never meet."""
    return "local-" + hashlib.blake2b(str(project_root()).encode(), digest_size=4).hexdigest()


def commit(root: Path | None = None) -> str | None:
    """The commit that the checkout is at, read from git's own files; None for an installed package, or a form that is
    not known here. What was edited since does not show."""
    try:
        place = (root or project_root()) / ".git"
        folder = place if place.is_dir() else place.parent / place.read_text().removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return _checked(head)
        shared = folder / "commondir"  # a further worktree keeps its branches in the first one's folder
        return _of_branch(folder / shared.read_text().strip() if shared.exists() else folder, head[len("ref: ") :])
    except (OSError, UnicodeDecodeError):
        return None


def _of_branch(folder: Path, name: str) -> str | None:
    loose = folder / name
    if loose.is_file():
        return _checked(loose.read_text().strip())
    for line in (folder / "packed-refs").read_text().splitlines():
        digits, _, packed = line.partition(" ")
        if packed == name:
            return _checked(digits)
    return None


def _checked(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
