"""A refresh token, `<user>.<family>.<secret>`: how one is made from the one before, and which were ever given out.

The database keeps hashes and the family's key, never a token. A secret is 22 characters of chance and 21 that mark
them as ours under the family's key. The next secret follows from key and shown secret, so the same token shown twice
gives the same next one, without that being kept; neither the key nor the token gives it away alone. By its mark a
spent token is told from one that somebody made up, however long ago it was spent.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final
from uuid import UUID

FAMILY_KEY_BYTES: Final = 32
"""256 bits, as many as the digest made with it."""
_CHANCE_CHARS: Final = 22
"""Of base64: 132 bits of chance; nobody guesses them."""
_MARK_CHARS: Final = 21
"""Of base64: 126 bits of the digest that marks a token as one of ours."""
_SPELLED: Final = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    user_id: UUID
    family_id: UUID
    secret: str

    @classmethod
    def first(cls, user_id: UUID, family_id: UUID, family_key: bytes) -> "RefreshToken":
        return cls(user_id, family_id, _marked(family_key, secrets.token_urlsafe(16)))

    @classmethod
    def read(cls, text: str) -> "RefreshToken | None":
        """None: not spelled like a token of ours."""
        match = _SPELLED.fullmatch(text)
        return None if match is None else cls(UUID(match[1]), UUID(match[2]), match[3])

    def next(self, family_key: bytes) -> "RefreshToken":
        chance = _mac(family_key, b"next", self.secret)[:_CHANCE_CHARS]
        return RefreshToken(self.user_id, self.family_id, _marked(family_key, chance))

    def is_marked(self, family_key: bytes) -> bool:
        """Was it given out in this family? Tokens from before marks were made are not known by this."""
        return hmac.compare_digest(_marked(family_key, self.secret[:_CHANCE_CHARS]), self.secret)

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.secret.encode()).digest()

    def __str__(self) -> str:
        return f"{self.user_id.hex}.{self.family_id.hex}.{self.secret}"


def _marked(family_key: bytes, chance: str) -> str:
    return chance + _mac(family_key, b"mark", chance)[:_MARK_CHARS]


def _mac(family_key: bytes, purpose: bytes, text: str) -> str:
    mac = hmac.digest(family_key, purpose + b"\n" + text.encode(), "sha256")
    return base64.urlsafe_b64encode(mac).decode()
