"""The forms of an email: the one by which accounts are distinguished, and the one that mail is sent to.

Two spellings that differ by case, composition or width are one account: compatibility and case are folded until nothing
changes any more, which one pass does not reach (a capital letter with a mark may have no composed form while the
small one has). That form may merge what a mail server keeps apart (`straße`, `strasse`), so the address that is kept
for mail is only lowered and composed. Characters that nobody sees, and other spellings of a domain than names in their
own letters between single dots, are refused when an account is made, never when one is sought.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from infra.security.characters import find_unseen

_ADDRESS: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
"""As narrow as a cell's own check: a claim must not be made for an account that its cell then refuses."""


_IDEOGRAPHIC_FULL_STOP: Final = "\u3002"
"""A dot to those who resolve names, and another character to us; its other widths fold to it or to a dot."""
_A_LABEL: Final = "xn--"
"""A label in the letters of DNS (RFC 5890 2.3.2.1), of which we would have to know the one in its own letters."""


class EmailRefused(ValueError):
    """Says what is wrong with it."""


def check_email(email: str) -> None:
    """Raises `EmailRefused` for what no new account may be called."""
    unseen = find_unseen(email)
    if unseen is not None:
        raise EmailRefused(f"{unseen}: no control and no invisible characters")
    if not all(_ADDRESS.fullmatch(form) and find_unseen(form) is None for form in (normal_email(email), mailed(email))):
        raise EmailRefused("this is not an email address")
    labels = normal_email(email).rpartition("@")[2].split(".")
    if not all(labels) or any(_IDEOGRAPHIC_FULL_STOP in label for label in labels):
        raise EmailRefused("the domain is not names between single dots")
    if any(label.startswith(_A_LABEL) for label in labels):
        raise EmailRefused("write the domain in its own letters, not in those of DNS (xn--)")


def normal_email(email: str) -> str:
    """Of any text; a fixed point. What accounts are distinguished by."""
    return _settled(lambda text: _nfkc(_nfkc(text).casefold()).strip(" "), email)


def mailed(email: str) -> str:
    """Where mail goes; a fixed point too."""
    return _settled(lambda text: unicodedata.normalize("NFC", text.strip(" ")).lower(), email)


def earlier_forms(email: str) -> tuple[str, ...]:
    """How accounts of this email were distinguished before there was a fixed point, the spelling as it stands first: of
    its other spellings those that the old form kept apart most likely, all small and all capital."""
    normal = normal_email(email)
    spellings = (email, normal, email.upper(), normal.upper())
    return tuple(dict.fromkeys(unicodedata.normalize("NFC", spelling.strip()).lower() for spelling in spellings))


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _settled(step: Callable[[str], str], text: str) -> str:
    while (following := step(text)) != text:
        text = following
    return text
