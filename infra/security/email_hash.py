"""Email -> keyed hash, the only form in which an email leaves its cell.

The control database holds these hashes to find a cell by email and to keep an email unique. Without the pepper a
stolen copy of that table cannot be matched against a list of addresses.
"""

import hmac
import unicodedata

from infra.security.keys import KeyRing


class EmailHasher:
    """The pepper is not rotated: every claim would have to be made again by its owner."""

    def __init__(self, ring: KeyRing) -> None:
        self._pepper = ring.active_key

    def hash(self, email: str) -> bytes:
        return hmac.digest(self._pepper, normalize_email(email).encode(), "sha256")


def normalize_email(email: str) -> str:
    return unicodedata.normalize("NFC", email.strip()).lower()
