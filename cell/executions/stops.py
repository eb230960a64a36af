"""Stops: what a price of the venue touches is triggered, once, and no touch is missed.

Two steps, each a call that says in rows what is left to do. `judge_stops_v1` holds the prices that were written down
against the armed stops and notes which are reached; it locks no user, so a touch is known at once, whoever has the
user. `trigger_reached_stops_v1` sends reached stops on their way, users round robin; one whose user is locked or
halted stays reached, however the price turns. Killed anywhere, the next worker goes on with both. Prices that no worker
heard, or that one heard and did not write before it died, are gone: after a start the first price decides.
"""

import asyncio
from contextlib import suppress
from typing import Final
from uuid import UUID

from cell.executions.market_queries import judge_stops, trigger_stops
from cell.executions.repeating import Failures, repeat
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.telemetry import Metrics

JUDGE_MAX: Final = 1_000
"""Stops of one call: it locks no user, so only the length of its transaction counts."""
TRIGGER_MAX: Final = 256
"""Orders of one call: their users are locked until it ends."""
LOOK_PERIOD_S: Final = 0.4
"""Without a price too: for stops whose user is free again, and those that were being placed when a price was judged."""


class StopTrigger:
    """Prices in, triggered orders out."""

    def __init__(self, pool: Pool, *, cell: str, market_hours: str, clock: Clock, metrics: Metrics) -> None:
        self._pool = pool
        self._cell = cell
        self._market_hours = market_hours
        self._clock = clock
        self._metrics = metrics
        self._heard = asyncio.Event()
        self._after: UUID | None = None
        """The user who was served last."""

    def hear(self) -> None:
        """There are new prices."""
        self._heard.set()

    async def run(self) -> None:
        """Trigger until cancelled."""
        failures = Failures(self._metrics, self._cell)
        await repeat("stops", self._look_when_heard, failures, every_s=0.0, retry_s=LOOK_PERIOD_S)

    async def _look_when_heard(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_PERIOD_S):
                await self._heard.wait()
        self._heard.clear()
        await self.look()

    async def look(self) -> None:
        """Judge the prices that were written, and send what can go."""
        while await judge_stops(self._pool, limit=JUDGE_MAX, market_hours=self._market_hours) >= JUDGE_MAX:
            await self._trigger()
        await self._trigger()

    async def _trigger(self) -> None:
        """Until a call triggers nothing: other writers have those left over, and the next look goes on there."""
        triggered = 1
        while triggered:
            done = await trigger_stops(
                self._pool,
                limit=TRIGGER_MAX,
                at=self._clock.now(),
                market_hours=self._market_hours,
                after=self._after,
            )
            self._after, triggered = done.next_after, done.triggered
            self._metrics.counter("cell_stops_triggered_total").labels(self._cell).inc(triggered)
