"""The steps of a rotation by name, and what their results say: for the kind and for its command. Pure."""

from collections.abc import Mapping
from typing import Any

from infra.security.rotation import Rotated


def adding(ring: str) -> str:
    return f"add a key to the ring {ring}"


def dropping(ring: str) -> str:
    return f"drop old {ring} keys"


def changes_of(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Ring, the key that signs now, the keys that were dropped: from the results of a rotation's steps, by key."""
    rings = [ring for ring in Rotated if dropping(ring) in results]
    return [(ring, results[adding(ring)]["kid"], results[dropping(ring)]["dropped"]) for ring in rings]
