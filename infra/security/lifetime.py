"""How long a signed word may be believed, whoever signed it.

A signer chooses when its token ends, and whoever stole a key is a signer. So a verifier has norms of its own: what ends
later than its kind of token can end is refused, however well it is signed, and so is what comes from the future. Pure.
"""

from typing import Final

CLOCK_SKEW_S: Final = 30
"""How far the clock of who signed may be ahead of ours. The other way a token merely ends earlier."""
ACCESS_TOKEN_LIFE_MAX_S: Final = 900
"""Of a customer's access token: long enough for a page of an application; a stolen one is soon void."""
ROUTE_TOKEN_LIFE_MAX_S: Final = 300
"""Of the router's word to a cell: long enough that signing costs nothing, and half of the age at which an unfinished
sign-up is freed."""
OPERATOR_TOKEN_LIFE_MAX_S: Final = 3_600
"""Of an operator's token: the longest call, a check of a cell's whole books, takes minutes."""


class LifeInvalid(Exception):
    """Longer than the norm, from the future, or not in whole seconds."""


class LifeEnded(LifeInvalid):
    """It was in order once."""


def check_life(
    *, now_s: int, life_max_s: int, expires_at_s: object, issued_at_s: object = None, not_before_s: object = None
) -> None:
    """Raises LifeEnded or LifeInvalid. Where nobody says when it was signed, it was signed now: then it may end no
    later than a norm from now."""
    stated = [moment for moment in (issued_at_s, not_before_s) if moment is not None]
    if type(expires_at_s) is not int or any(type(moment) is not int for moment in stated):
        raise LifeInvalid("a time is not in whole seconds")
    if expires_at_s <= now_s:
        raise LifeEnded("has expired")
    if any(moment > now_s + CLOCK_SKEW_S for moment in stated if type(moment) is int):
        raise LifeInvalid("is from the future")
    begins_at_s = issued_at_s if type(issued_at_s) is int else now_s + CLOCK_SKEW_S
    if expires_at_s - begins_at_s > life_max_s:
        raise LifeInvalid(f"lives longer than {life_max_s} seconds")
