"""The steps of a rotation by name, and what their results say: for the kind and for its command. Pure."""

from collections.abc import Mapping
from typing import Any, Final

_ADDING: Final = "add a key to the ring "


def adding(name: str) -> str:
    """Of a ring, or of a cell's own."""
    return _ADDING + name


def dropping(name: str) -> str:
    return f"drop old {name} keys"


def changes_of(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Ring, the key that signs now, the keys that were dropped: from the results of a rotation's steps, by key."""
    names = [key.removeprefix(_ADDING) for key in results if key.startswith(_ADDING)]
    dropped = {name: results.get(dropping(name), {}).get("dropped", []) for name in names}
    return [(name, results[adding(name)]["kid"], dropped[name]) for name in names]
