"""The one form in which a password is counted, hashed and verified: RFC 8265 OpaqueString.

Spaces of other scripts become the plain one, then composition is normal (NFC); case and everything else stay. So the
same password typed on two keyboards is the same. Length is counted in characters of that form, everywhere.
"""

import unicodedata
from typing import Final

from infra.security.characters import find_unseen

PASSWORD_CHARS_MIN: Final = 8
"""Of the form: NIST SP 800-63B allows no fewer."""
PASSWORD_CHARS_MAX: Final = 1_024
"""No reason but to bound the work; a passphrase has a tenth."""
PASSWORD_AS_TYPED_CHARS_MAX: Final = 4 * PASSWORD_CHARS_MAX
"""Before it is brought into its form: a composed character is at most four decomposed ones (UAX 15), so nothing that is
short enough in its form is longer."""


class PasswordRefused(ValueError):
    """Says which rule it breaks; never the password."""


def normal_password(password: str) -> str:
    """Refuses nothing: what was taken once must be verifiable for ever."""
    plain = "".join(" " if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", plain)


def check_password(password: str) -> str:
    """The normal form of a new password. Raises `PasswordRefused`."""
    normal = normal_password(password)
    unseen = find_unseen(normal)
    if unseen is not None:
        raise PasswordRefused(f"{unseen}: no control and no invisible characters")
    if not PASSWORD_CHARS_MIN <= len(normal) <= PASSWORD_CHARS_MAX:
        raise PasswordRefused(f"{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")
    return normal
