"""Rotate a stack's keys: add, wait until every process has looked, activate, drop what has expired.

May be repeated and may follow a crash at any step; two of them wait for each other.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from infra.backends.local.backend import LocalBackend
from infra.security.rotation import KEPT_S, Rotated, activate_key, add_key, drop_old_keys

SETTLE_S: Final = 3.0
"""Every process looks at its key files once a second, when it is asked something; the rest is for a busy machine."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    ring: Rotated
    kid: str
    dropped: tuple[str, ...]


async def rotate_keys(
    backend: LocalBackend, rings: tuple[Rotated, ...], now_s: int, *, drop_old: bool, settle_s: float = SETTLE_S
) -> list[KeyChange]:
    folder = backend.folder.keys
    async with backend.lock():
        added = {ring: add_key(folder, ring) for ring in rings}
        await asyncio.sleep(settle_s)
        for ring, kid in added.items():
            activate_key(folder, ring, kid, now_s)
        if drop_old:
            await asyncio.sleep(settle_s)  # signers first: a key must not vanish under a token that is being made
        return [
            KeyChange(ring, kid, drop_old_keys(folder, ring, now_s, kept_s=0 if drop_old else KEPT_S[ring]))
            for ring, kid in added.items()
        ]
