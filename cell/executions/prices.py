"""Last prices and price bands from the venue into the cell's symbols: conflated, at most a few writes per second.

The venue only sends what changed, so now and then all prices of a living session are written again: their age says
how fresh the session is, and a market order is refused once it is too old.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from cell.executions.market_queries import set_price_bands, set_reference_prices
from cell.executions.queries import CallRefused, DatabaseAway
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.telemetry import Metrics

WRITE_PERIOD_S: Final = 0.4
REFRESH_PERIOD_S: Final = 5.0
RETRY_S: Final = 1.0
SYMBOLS_MAX: Final = 20_000

_log = logging.getLogger(__name__)


class ReferencePrices:
    """The newest price of every symbol, and which of them are not written yet."""

    def __init__(
        self,
        pool: Pool,
        *,
        cell: str,
        clock: Clock,
        metrics: Metrics,
        on_written: Callable[[Mapping[str, int], datetime], None],
    ) -> None:
        self._pool = pool
        self._on_written = on_written
        self._cell = cell
        self._clock = clock
        self._metrics = metrics
        self._prices: dict[str, int] = {}
        self._changed: set[str] = set()
        self._bands: Mapping[str, tuple[int, int]] = {}
        self._written_bands: Mapping[str, tuple[int, int]] | None = None
        """None: what an earlier worker wrote may be there."""
        self._heard = asyncio.Event()

    def hear(self, prices: Mapping[str, int], bands: Mapping[str, tuple[int, int]]) -> None:
        """The venue says what trades at what and which bands it has; an empty message says that it is alive."""
        self._bands = {symbol: (low, high) for symbol, (low, high) in bands.items() if 0 < low <= high}
        for symbol, px_micros in prices.items():
            if px_micros > 0 and (symbol in self._prices or len(self._prices) < SYMBOLS_MAX):
                self._prices[symbol] = px_micros
                self._changed.add(symbol)
        self._heard.set()

    async def run(self) -> None:
        """Write until cancelled."""
        refreshed_at_s = self._clock.monotonic()
        while True:
            await self._heard.wait()
            self._heard.clear()
            if self._clock.monotonic() - refreshed_at_s >= REFRESH_PERIOD_S:
                self._changed.update(self._prices)
                refreshed_at_s = self._clock.monotonic()
            changed, self._changed = self._changed, set()
            if changed:
                await self._write({symbol: self._prices[symbol] for symbol in changed})
            if self._bands != self._written_bands:
                await self._write_bands(self._bands)
            await asyncio.sleep(WRITE_PERIOD_S)

    async def _write(self, prices: Mapping[str, int]) -> None:
        told_at = self._clock.now()
        try:
            await set_reference_prices(self._pool, prices, told_at)
        except (DatabaseAway, CallRefused) as error:
            self._changed.update(prices)
            self._metrics.counter("cell_worker_failures_total").labels(self._cell, "prices").inc()
            _log.warning("database call failed, repeating", extra={"task": "prices", "detail": str(error)})
            await asyncio.sleep(RETRY_S)
        else:
            self._on_written(prices, told_at)

    async def _write_bands(self, bands: Mapping[str, tuple[int, int]]) -> None:
        """After the prices, which make a symbol known; what cannot be written now is tried with the next message."""
        try:
            await set_price_bands(self._pool, bands)
        except (DatabaseAway, CallRefused) as error:
            self._metrics.counter("cell_worker_failures_total").labels(self._cell, "prices").inc()
            _log.warning("database call failed, repeating", extra={"task": "price bands", "detail": str(error)})
        else:
            self._written_bands = bands
