"""Characters that nobody sees, or that no standard text has: what two spellings must not differ by."""

import unicodedata
from typing import Final

_NEVER: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, formats (zero width, writing direction), surrogates, private use, unassigned, line and paragraph ends."""
_IGNORED: Final = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)]
)
"""Letters and marks by their category that are drawn as nothing: joiners, Hangul fillers, variation selectors, the
empty Braille pattern; with the supplement of selectors below, the rest of Unicode's
`Default_Ignorable_Code_Point`."""
_SELECTORS_SUPPLEMENT: Final = range(0xE0100, 0xE01F0)
"""Variation selectors 17 to 256."""


def find_unseen(text: str) -> str | None:
    """The first such character as `U+200B`, or None. As RFC 8264 refuses them in identifiers and in free text."""
    for character in text:
        code = ord(character)
        if unicodedata.category(character) in _NEVER or code in _IGNORED or code in _SELECTORS_SUPPLEMENT:
            return f"U+{code:04X}"
    return None
