"""Why an operator does something, as their token carries it to a cell: a few words that others read later."""

from typing import Final

from infra.security.free_text import check_free_text

WHY_MAX: Final = 500
"""Characters of a reason: a sentence or two and a ticket's address; it is one row of a cell's record of acts."""


def check_why(text: str) -> None:
    """Raises ValueError (FreeTextRefused is one) that says what is wrong with it."""
    if not 0 < len(text) <= WHY_MAX:
        raise ValueError(f"a reason that a cell keeps has 1 to {WHY_MAX} characters, not {len(text)}")
    check_free_text(text)
