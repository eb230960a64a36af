"""Whose access tokens are void although they have not expired: user -> tokens issued before this second.

Such lists only ever grow together: the later of two moments wins, and an entry is of no use once every token from
before it has expired. So lists from anywhere, of any age and in any order may be merged, and an old one does no harm.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final
from uuid import UUID

from infra.security.lifetime import ACCESS_TOKEN_LIFE_MAX_S

KEPT_S: Final = ACCESS_TOKEN_LIFE_MAX_S + 300
"""The life of a token, and five minutes for clocks."""
_DIGEST_BYTES: Final = 16
"""Against damage, not against people: who may write there may write anything."""


class RevocationsCorrupted(Exception):
    """Damaged bytes; nothing of them is believed."""


class Revocations:
    """A growing list. Lookups are by user, without I/O."""

    def __init__(self) -> None:
        self._not_before_s: dict[UUID, int] = {}

    def __len__(self) -> int:
        return len(self._not_before_s)

    def is_void(self, user_id: UUID, issued_at_s: int) -> bool:
        return bool(self._not_before_s) and issued_at_s < self._not_before_s.get(user_id, 0)

    def merge(self, entries: Mapping[UUID, int], now_s: int) -> set[UUID]:
        """The users of whom more tokens are void now."""
        known, changed = self._not_before_s, set()
        for user_id, not_before_s in entries.items():
            if not_before_s > max(known.get(user_id, 0), now_s - KEPT_S):
                known[user_id] = not_before_s
                changed.add(user_id)
        for user_id in [user_id for user_id, not_before_s in known.items() if not_before_s <= now_s - KEPT_S]:
            del known[user_id]
        return changed

    def entries(self) -> dict[UUID, int]:
        return dict(self._not_before_s)


def encode_revocations(entries: Mapping[UUID, int]) -> bytes:
    body = json.dumps({str(user_id): entries[user_id] for user_id in sorted(entries)}, separators=(",", ":")).encode()
    return _digest(body) + b"\n" + body


def decode_revocations(document: bytes) -> dict[UUID, int]:
    """User to the second up to which their tokens are void. Raises RevocationsCorrupted."""
    digest, _, body = document.partition(b"\n")
    if digest != _digest(body):
        raise RevocationsCorrupted("checksum does not match")
    try:
        return {UUID(user_id): int(not_before_s) for user_id, not_before_s in json.loads(body).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise RevocationsCorrupted("not a list of revocations") from error


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES).hexdigest().encode()
