"""How much of a request's time its cell gets: what is left of it, less what the answer needs to come back.

So the cell, which knows what was done, answers before the router gives up and has to say that it does not know.
"""

from typing import Final

WAY_BACK_S: Final = 0.1
"""For the answer to come back and be read, on a busy machine."""


def budget_s(deadline_s: float, now_s: float) -> float:
    """Not above zero: nothing may be sent any more."""
    return deadline_s - WAY_BACK_S - now_s


def budget_ms(deadline_s: float, now_s: float) -> bytes:
    """The same for `X-Deadline-Ms`, in milliseconds; never 0 or less, which would not be a number of digits."""
    return b"%d" % max(1, budget_s(deadline_s, now_s) * 1000)
