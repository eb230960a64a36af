"""What may go wrong on purpose, and the seeded random numbers that decide it.

Every decision is a pure function of (seed, what is decided, whose it is): a test that names a seed meets the same
faults on every run, before and after a restart. Off by default; set through the operator port and remembered.
"""

from hashlib import blake2b
from typing import Final

import msgspec

from exchange.errors import InvalidField

MILLION: Final = 1_000_000
"""Rates are judged in parts of a million."""
LATENCY_MS_MAX: Final = 60_000
"""A minute: longer is what `silent_rate` is for."""
SILENT_MS_MAX: Final = 3_600_000
"""An hour: longer than any limit after which a cell asks."""


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rates are shares, 0 to 1, of the orders or reports they may hit. Tape orders only meet the first four."""

    latency_ms: int = 0
    """Added before an order is accepted and before a cancel is looked at."""
    duplicate_rate: float = 0.0
    """A report is sent twice, under two sequence numbers."""
    noisy_duplicate_rate: float = 0.0
    """A fill is followed by one with its exec id and another price."""
    lost_ack_rate: float = 0.0
    """An order is accepted, and no acknowledgement is sent."""
    silent_rate: float = 0.0
    """An order is taken, and nothing is said of it, whatever is asked, for `silent_ms` or until this goes off."""
    silent_ms: int = 60_000
    """A minute: long after a cell has asked, cancelled, and called the order stuck."""
    reject_rate: float = 0.0
    """An order is rejected for no reason a customer could know."""
    late_fill_rate: float = 0.0
    """A cancel is confirmed, and then one more fill arrives."""
    cancel_refused_rate: float = 0.0
    """A cancel is refused, and the order lives on."""
    replace_refused_rate: float = 0.0
    """A replacement is refused, and the order lives on."""
    bust_rate: float = 0.0
    """A fill is taken back a moment later."""
    correct_rate: float = 0.0
    """A fill is corrected a moment later, to a price one cent better for the customer."""

    def checked(self) -> "Faults":
        """Itself. Raises InvalidField."""
        if not 0 <= self.latency_ms <= LATENCY_MS_MAX:
            raise InvalidField("latency_ms", f"between 0 and {LATENCY_MS_MAX}")
        if not 0 < self.silent_ms <= SILENT_MS_MAX:
            raise InvalidField("silent_ms", f"between 1 and {SILENT_MS_MAX}")
        for name in self.__struct_fields__:
            if name.endswith("_rate") and not 0 <= getattr(self, name) <= 1:
                raise InvalidField(name, "between 0 and 1")
        return self


def draw_ppm(seed: int, purpose: str, key: str) -> int:
    """A number from 0 to 999,999, the same for ever."""
    digest = blake2b(f"{seed}:{purpose}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % MILLION


def occurs(seed: int, purpose: str, key: str, rate: float) -> bool:
    """Whether a fault of this rate hits this key."""
    return rate > 0 and draw_ppm(seed, purpose, key) < rate * MILLION


class SeededRandom:
    """The seed, and the faults that are on now: shared by everything that asks whether a fault occurs."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.seed = seed
        self.faults = faults

    def occurs(self, purpose: str, key: str, rate: float) -> bool:
        """Whether a fault of this rate hits this key."""
        return occurs(self.seed, purpose, key, rate)


class Draws:
    """A short deterministic sequence of numbers for one order."""

    def __init__(self, seed: int, purpose: str, key: str) -> None:
        self._bytes = blake2b(f"{seed}:{purpose}:{key}".encode(), digest_size=64).digest()
        self._position = 0

    def below(self, bound: int) -> int:
        """The next number from 0 to bound - 1; sixteen of them, then they repeat."""
        start = self._position % len(self._bytes)
        self._position += 4
        return int.from_bytes(self._bytes[start : start + 4], "big") % bound
