"""Words that a person writes for other persons to read: the reason of an act, the name of a customer.

Whoever reads them later must see all of them, in the order in which they were written: control, format and direction
characters are refused (a line end is one of them), and so is text in which nothing is visible. Lengths are
the caller's.
"""

import unicodedata
from typing import Final

from infra.security.characters import find_unseen

_VISIBLE: Final = frozenset("LNPS")
"""Letters, numbers, punctuation, symbols. A space or a mark alone shows nothing."""


class FreeTextRefused(ValueError):
    """Says what is wrong with it."""


def check_free_text(text: str) -> None:
    """Raises `FreeTextRefused`."""
    unseen = find_unseen(text)
    if unseen is not None:
        raise FreeTextRefused(f"{unseen}: no control and no invisible characters")
    if not any(unicodedata.category(character)[0] in _VISIBLE for character in text):
        raise FreeTextRefused("nothing in it is visible")
