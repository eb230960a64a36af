"""The number of every price message: it only grows, over restarts and a clock that goes back, and is the same for every
cell. So a cell may say of a stop "prices after this one", and another cell understands it.

A number is the moment in microseconds, or one more than the last. What may be used is reserved in the log ahead of
time, once a minute, so a price costs no write of its own; a restart begins behind what was reserved.
"""

from typing import Final

RESERVED: Final = "price_numbers_reserved"
RESERVE_US: Final = 120_000_000
"""Numbers reserved ahead, as microseconds: two minutes of them."""
RENEW_US: Final = 60_000_000
"""Reserve more when less than a minute is left: a log that stalls for so long is caught up with before it runs out."""


class PriceNumbers:
    """Hands out numbers up to what is durably reserved."""

    def __init__(self, reserved: int) -> None:
        self._last = self._durable = self._asked = reserved

    def next(self, now_us: int) -> int:
        """The next number. Beyond the reserve, which a stalled log may bring about, they grow by one and not with the
        clock, so that no later start meets them again."""
        self._last = max(self._last + 1, min(now_us, self._durable))
        return self._last

    def wanted(self, now_us: int) -> int | None:
        """What to reserve now, if anything; `reserve` says that it is durable."""
        if self._asked - max(self._last, now_us) > RENEW_US:
            return None
        self._asked = max(self._last, now_us) + RESERVE_US
        return self._asked

    def reserve(self, upto: int) -> None:
        """These are durable."""
        self._durable = max(self._durable, upto)
