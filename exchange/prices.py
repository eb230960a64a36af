"""Last prices: a bounded, slow, deterministic walk around a base price per symbol.

The walk is a pure function of (seed, symbol, moment), in integers: three octaves of smoothed lattice noise, each value
drawn from a hash. So it needs no state, survives `kill -9` by being recomputed, and cannot wander out of a price band.
Only the bases are remembered: a tape sets a symbol's base to its own price, and the walk continues from exactly there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

DOLLAR: Final = 1_000_000
"""In micro-dollars."""
SCALE: Final = 1_000_000
"""Of a price's distance from its middle: parts per million."""

# period in microseconds, swing in parts per million of the base
OCTAVES: Final = ((900_000_000, 9_000), (150_000_000, 3_000), (20_000_000, 800))

START_PRICES: Final[Mapping[str, int]] = {
    symbol: cents * 10_000
    for symbol, cents in {
        "AAPL": 22_850, "ABNB": 13_120, "ADBE": 49_840, "AMC": 487, "AMD": 15_935, "AMZN": 19_860, "BAC": 4_125,
        "BB": 276, "BRK.B": 44_510, "COIN": 21_480, "DIS": 9_685, "F": 1_108, "GME": 2_455, "GOOGL": 17_640,
        "INTC": 2_390, "JPM": 21_770, "KO": 6_840, "MARA": 1_820, "META": 56_230, "MSFT": 42_890, "NFLX": 70_150,
        "NIO": 518, "NKE": 8_160, "NVDA": 13_445, "PFE": 2_870, "PLTR": 4_315, "PYPL": 7_330, "QQQ": 48_920,
        "SNDL": 193, "SOFI": 1_045, "SPY": 57_480, "T": 2_165, "TSLA": 25_170, "UBER": 7_560, "WMT": 8_025,
    }.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BasePrice:
    """At `anchored_at_us` the price was exactly `px_micros`."""

    px_micros: int
    anchored_at_us: int


def tick_size(px_micros: int) -> int:
    """The smallest price step: a cent from one dollar on, a hundredth of a cent below."""
    return 10_000 if px_micros >= DOLLAR else 100


def round_to_tick(px_micros: int) -> int:
    """The nearest price on the grid, never below one tick."""
    tick = tick_size(px_micros)
    return max(tick, (px_micros + tick // 2) // tick * tick)


@lru_cache(maxsize=4096)
def _lattice(seed: int, symbol: str, octave: int, index: int) -> int:
    digest = blake2b(f"{seed}:{symbol}:{octave}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (2 * SCALE + 1) - SCALE


def walk_ppm(seed: int, symbol: str, at_us: int) -> int:
    """How far from its middle the symbol stands at a moment, in parts per million."""
    total = 0
    for octave, (period_us, swing_ppm) in enumerate(OCTAVES):
        index, within_us = divmod(at_us, period_us)
        u = within_us * SCALE // period_us
        smooth = u * u * (3 * SCALE - 2 * u) // SCALE // SCALE
        left = _lattice(seed, symbol, octave, index)
        right = _lattice(seed, symbol, octave, index + 1)
        total += (left + (right - left) * smooth // SCALE) * swing_ppm // SCALE
    return total


def starting_bases(at_us: int) -> dict[str, BasePrice]:
    """The bases of a new exchange."""
    return {symbol: BasePrice(px_micros, at_us) for symbol, px_micros in START_PRICES.items()}


class PriceBoard:
    """The last price of every symbol; knows which bases are not yet written down."""

    def __init__(self, seed: int, remembered: Mapping[str, BasePrice], at_us: int) -> None:
        self._seed = seed
        self._bases = starting_bases(at_us) | dict(remembered)
        self._changed = set(self._bases) - set(remembered)

    @property
    def symbols(self) -> list[str]:
        """Every symbol that trades here, sorted."""
        return sorted(self._bases)

    def knows(self, symbol: str) -> bool:
        """Whether the symbol trades here."""
        return symbol in self._bases

    def set_last(self, symbol: str, px_micros: int, at_us: int) -> None:
        """Make this the last price now, and let the walk go on from it."""
        self._bases[symbol] = BasePrice(px_micros, at_us)
        self._changed.add(symbol)

    def px_micros(self, symbol: str, at_us: int) -> int:
        """The last price at a moment."""
        base = self._bases[symbol]
        if at_us == base.anchored_at_us:
            return base.px_micros
        drift = walk_ppm(self._seed, symbol, at_us) - walk_ppm(self._seed, symbol, base.anchored_at_us)
        return round_to_tick(base.px_micros + base.px_micros * drift // SCALE)

    def snapshot(self, at_us: int) -> dict[str, int]:
        """All last prices at a moment."""
        return {symbol: self.px_micros(symbol, at_us) for symbol in self._bases}

    def take_changed_bases(self) -> list[tuple[str, BasePrice]]:
        """Bases to write down; each is handed out once."""
        changed = [(symbol, self._bases[symbol]) for symbol in sorted(self._changed)]
        self._changed.clear()
        return changed
