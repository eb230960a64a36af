"""How much the record of acts keeps of each text, and gives in one answer."""

from typing import Final

LISTED_MAX: Final = 1_000
"""Attempts in one answer: more than a screen, less than a burden."""
PAGE_ROWS: Final = 1_000
"""Rows in one page of a walk: half a megabyte as a rule, and at most ten where every text has its limit."""
SUBJECT_MAX: Final = 200
"""Characters of a name, as the table keeps it."""
TARGET_MAX: Final = 200
"""Characters, as the table keeps it."""
REASON_MAX: Final = 2_000
"""Characters, as the table and the map's history keep them."""
