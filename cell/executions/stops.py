"""Stops: what the last prices reach is triggered, once.

Every price that was written as a reference price is also held against the armed stops. A price counts for the stops
that were armed before it was told; those it reaches go on their way like any market or limit order. A stop whose user
another writer has at that moment is asked for again with the very price that reached it, so no touch is lost to a lock
or to a database that was away. Prices that came while no worker ran are gone: after a start the first price decides.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cell.executions.market_queries import ToldPrice, trigger_stops
from cell.executions.queries import CallRefused, DatabaseAway
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.telemetry import Metrics

TRIGGER_MAX: Final = 256
TOLD_MAX: Final = 100_000
TRIES_WITHOUT_WAITING: Final = 3
TRIES: Final = 8
PAUSE_S: Final = 0.01
RETRY_S: Final = 0.2

_log = logging.getLogger(__name__)


class StopTrigger:
    """Prices in, triggered orders out."""

    def __init__(self, pool: Pool, *, cell: str, market_hours: str, clock: Clock, metrics: Metrics) -> None:
        self._pool = pool
        self._cell = cell
        self._market_hours = market_hours
        self._clock = clock
        self._metrics = metrics
        self._told: list[ToldPrice] = []
        self._heard = asyncio.Event()

    def hear(self, prices: Mapping[str, int], told_at: datetime) -> None:
        """These last prices are the reference now."""
        self._told += [ToldPrice(symbol, px_micros, told_at) for symbol, px_micros in prices.items()]
        del self._told[:-TOLD_MAX]
        self._heard.set()

    async def run(self) -> None:
        """Trigger until cancelled."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            told, self._told = self._told, []
            try:
                done = await self._trigger(told)
            except (DatabaseAway, CallRefused) as error:
                self._metrics.counter("cell_worker_failures_total").labels(self._cell, "stops").inc()
                _log.warning("database call failed, repeating", extra={"task": "stops", "detail": str(error)})
                done = False
            if not done:  # with what came meanwhile: one held user must not keep the others' stops waiting
                self._told[:0] = told
                self._heard.set()
                await asyncio.sleep(RETRY_S)

    async def _trigger(self, told: list[ToldPrice]) -> bool:
        tries = 0
        while tries < TRIES:
            result = await trigger_stops(
                self._pool,
                told,
                limit=TRIGGER_MAX,
                at=self._clock.now(),
                market_hours=self._market_hours,
                wait=tries >= TRIES_WITHOUT_WAITING,
            )
            if result.triggered:
                self._metrics.counter("cell_stops_triggered_total").labels(self._cell).inc(result.triggered)
            if result.triggered + result.put_off < TRIGGER_MAX and not result.put_off:
                return True
            if result.put_off:
                tries += 1
                await asyncio.sleep(PAUSE_S)
        return False
