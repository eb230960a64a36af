"""Last prices and price bands from the venue into the cell's symbols: conflated, at most a few writes per second.

A price that came and went between two writes is not lost to the stops: with a symbol's last price its lowest and
highest since the write before are written too, each under its number. That is all a stop can need: its mark is a
number that was written. A venue that does not number its prices has them numbered here.

The venue only sends what changed, so now and then all prices of a living session are written again: their age says
how fresh the session is, and a market order is refused once it is too old.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cell.executions.market_queries import NumberedPrice, set_price_bands, set_reference_prices
from cell.executions.repeating import Failures
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.procedures import DatabaseFailure
from infra.runtime.telemetry import Metrics

WRITE_PERIOD_S: Final = 0.4
"""Between two writes; the extremes of what is heard meanwhile are kept, so no touch is missed."""
REFRESH_PERIOD_S: Final = 5.0
"""Prices that did not change are written again, so that their age says that the venue is there."""
RETRY_S: Final = 1.0
"""After a write that failed: what is heard meanwhile is kept, and an older price is refused only after a minute."""
SYMBOLS_MAX: Final = 20_000
"""Symbols remembered, about twice those listed in the United States; a venue that names more is not believed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PriceRange:
    """What of a symbol is not written yet: its last price, and the lowest and the highest on the way there."""

    last: NumberedPrice
    lowest: NumberedPrice
    highest: NumberedPrice

    @classmethod
    def of(cls, price: NumberedPrice) -> "PriceRange":
        return cls(price, price, price)

    def then(self, price: NumberedPrice) -> "PriceRange":
        """And after that came this one. Of equal prices the later one counts: it is beyond more marks."""
        lowest = min(price, self.lowest, key=lambda at: at.px_micros)
        highest = max(price, self.highest, key=lambda at: at.px_micros)
        return PriceRange(price, lowest, highest)


class ReferencePrices:
    """The newest price of every symbol, and which of them are not written yet."""

    def __init__(
        self,
        pool: Pool,
        *,
        cell: str,
        clock: Clock,
        metrics: Metrics,
        on_written: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._on_written = on_written
        self._clock = clock
        self._failures = Failures(metrics, cell)
        self._prices: dict[str, NumberedPrice] = {}
        self._unwritten: dict[str, PriceRange] = {}
        self._number = 0
        self._bands: Mapping[str, tuple[int, int]] = {}
        self._written_bands: Mapping[str, tuple[int, int]] | None = None
        """None: what an earlier worker wrote may be there."""
        self._heard = asyncio.Event()

    def hear(self, prices: Mapping[str, int], bands: Mapping[str, tuple[int, int]], number: int) -> None:
        """The venue says what trades at what and which bands it has; an empty message says that it is alive."""
        self._bands = {symbol: (low, high) for symbol, (low, high) in bands.items() if 0 < low <= high}
        # A venue that numbers no prices: numbers of our own, which grow over a restart because the clock does.
        self._number = number or max(self._number + 1, int(self._clock.now().timestamp() * 1_000_000))
        for symbol, px_micros in prices.items():
            # Symbols come from outside: their number is bounded here.
            if px_micros > 0 and (symbol in self._prices or len(self._prices) < SYMBOLS_MAX):
                price = NumberedPrice(symbol, px_micros, self._number)
                unwritten = self._unwritten.get(symbol)
                self._prices[symbol] = price
                self._unwritten[symbol] = PriceRange.of(price) if unwritten is None else unwritten.then(price)
        self._heard.set()

    async def run(self) -> None:
        """Write until cancelled."""
        refreshed_at_s = self._clock.monotonic()
        while True:
            await self._heard.wait()
            self._heard.clear()
            if self._clock.monotonic() - refreshed_at_s >= REFRESH_PERIOD_S:
                self._unwritten = {
                    symbol: PriceRange.of(price) for symbol, price in self._prices.items()
                } | self._unwritten
                refreshed_at_s = self._clock.monotonic()
            if self._unwritten:
                await self._write()
            if self._bands != self._written_bands:
                await self._write_bands(self._bands)
            await asyncio.sleep(WRITE_PERIOD_S)

    async def _write(self) -> None:
        """What comes while this is on its way is for the next write; if this one fails, it is for that one too."""
        writing, self._unwritten = self._unwritten, {}
        prices = [
            price for heard in writing.values() for price in dict.fromkeys((heard.lowest, heard.highest, heard.last))
        ]
        try:
            await set_reference_prices(self._pool, prices, self._clock.now())
        except DatabaseFailure as error:
            for symbol, heard in writing.items():
                since = self._unwritten.get(symbol)
                if since is not None:
                    # in the order in which they came: the extremes of both, and the last one
                    for price in sorted((since.lowest, since.highest, since.last), key=lambda price: price.number):
                        heard = heard.then(price)
                self._unwritten[symbol] = heard
            self._failures.note("prices", error)
            self._heard.set()
            await asyncio.sleep(RETRY_S)
        else:
            self._on_written()

    async def _write_bands(self, bands: Mapping[str, tuple[int, int]]) -> None:
        """After the prices, which make a symbol known; what cannot be written now is tried with the next message."""
        try:
            await set_price_bands(self._pool, bands)
        except DatabaseFailure as error:
            self._failures.note("price bands", error)
        else:
            self._written_bands = bands
