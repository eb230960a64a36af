"""Email -> keyed hash, the only form in which an email leaves its cell.

The control database holds these hashes to find a cell by email and to keep an email unique. Without the pepper a
stolen copy of that table cannot be matched against a list of addresses.
"""

import hmac

from infra.security.email_form import earlier_forms, normal_email
from infra.security.keys import KeyRing


class EmailHasher:
    """The pepper is not rotated: every claim would have to be made again by its owner."""

    def __init__(self, ring: KeyRing) -> None:
        self._pepper = ring.active_key

    def hash(self, email: str) -> bytes:
        """Under which a claim of this email is made."""
        return self._of(normal_email(email))

    def to_claim(self, email: str) -> list[bytes]:
        """That one first, then those under which an account of the same email may stand from before."""
        return self._distinct([normal_email(email), *earlier_forms(email)])

    def to_find(self, email: str) -> list[bytes]:
        """The same ones, this very spelling's earlier one first: where two spellings became two accounts once, each
        still finds its own."""
        as_spelled, *others = earlier_forms(email)
        return self._distinct([as_spelled, normal_email(email), *others])

    def _distinct(self, forms: list[str]) -> list[bytes]:
        return [self._of(form) for form in dict.fromkeys(forms)]

    def _of(self, form: str) -> bytes:
        return hmac.digest(self._pepper, form.encode("utf-8", "surrogatepass"), "sha256")
