"""What the worker does at the market's hours: queued orders go at the open, day orders end at the close.

Both are passes over what is due, in bounded steps, driven by rows: killed at any moment, the next worker goes on, and a
step done twice changes nothing. A session counts as ended only after a pass that began some time after its close found
no open day order of it: an order accepted in the last moment may commit a little later, and one that the venue must
confirm keeps its funds until then. Until that pass the passes go on, ever slower. An order whose
session was moved or taken out of the calendar after it came (a day of mourning) ends at the close that it was given.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cell.executions.market_queries import (
    closes_left_behind,
    end_session,
    expire_orders,
    release_queued,
    sessions_ahead,
    unended_sessions,
)
from cell.executions.queries import write_sessions
from cell.executions.repeating import Failures, repeat
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.market_calendar import TradingSession, xnys_sessions
from infra.runtime.telemetry import Metrics

ALWAYS: Final = "always"
CHECK_PERIOD_S: Final = 0.5
"""How late an open or a close is noticed at most."""
STEP_ORDERS: Final = 512
"""Orders of one call: their users are locked until it ends."""
STEP_PAUSE_S: Final = 0.005
"""Between calls of one pass, for the customers' own."""
LATE_COMMITS_S: Final = 30.0
"""An order accepted before the close is committed by then: a command's deadline is far shorter."""
PASS_PAUSE_S: Final = (2.0, 60.0)
"""Between passes over a session that will not end yet, doubling: the venue's confirmation is awaited."""
YEARS_AHEAD: Final = 2
"""Of the calendar that a migration writes: longer than any release runs, and orders are good until cancelled."""
FIRST_ID: Final = UUID(int=0)
"""Below every order id: where a pass begins."""

_log = logging.getLogger(__name__)


def calendar_for(at: datetime) -> Sequence[TradingSession]:
    """The sessions that a cell writes down: the year before, for trades that settle late, to two years ahead."""
    return xnys_sessions(range(at.year - 1, at.year + YEARS_AHEAD + 1))


async def write_calendar(owner_dsn: str, at: datetime) -> int:
    """Bring the cell's calendar up to date; returns how many rows changed."""
    return await write_sessions(owner_dsn, calendar_for(at), at)


class TradingHours:
    """Opens and closes of one cell's market: what is due at them is done."""

    def __init__(
        self,
        pool: Pool,
        *,
        cell: str,
        market_hours: str,
        clock: Clock,
        metrics: Metrics,
        fault_points: FaultPoints | None = None,
    ) -> None:
        self._pool = pool
        self._cell = cell
        self._market_hours = market_hours
        self._clock = clock
        self._metrics = metrics
        self._fault_points = fault_points or FaultPoints()
        self._pass_pause_s = PASS_PAUSE_S[0]
        self._next_pass_s = 0.0
        self._past_close = 0
        """Open orders of all closed sessions, as this pass has counted them so far."""
        self._released_after: UUID | None = None

    async def run(self) -> None:
        """Keep the hours until cancelled. A market that never closes only needs what an earlier setting left queued."""
        every_s = CHECK_PERIOD_S if self._market_hours != ALWAYS else PASS_PAUSE_S[1]
        await repeat("trading hours", self.keep, Failures(self._metrics, self._cell), every_s=every_s)

    async def keep(self) -> None:
        """Do what is due now."""
        now = self._clock.now()
        if self._clock.monotonic() >= self._next_pass_s:
            all_ended = True
            self._past_close = 0
            for closes_at in await unended_sessions(self._pool, now) + await closes_left_behind(self._pool, now):
                all_ended &= await self.expire_session(closes_at)
            self._metrics.gauge("cell_orders_past_close").labels(self._cell).set(self._past_close)
            self._pass_pause_s = PASS_PAUSE_S[0] if all_ended else min(PASS_PAUSE_S[1], self._pass_pause_s * 2)
            self._next_pass_s = self._clock.monotonic() + (0.0 if all_ended else self._pass_pause_s)
        await self._release()
        if self._market_hours != ALWAYS:
            ahead = await sessions_ahead(self._pool, now)
            self._metrics.gauge("cell_trading_sessions_ahead").labels(self._cell).set(ahead)

    async def expire_session(self, closes_at: datetime) -> bool:
        """One pass over the day orders of a session that has closed; True if the session is over for good."""
        # Until then a transaction may still commit an order of that day, which no pass has seen.
        is_last = self._clock.now() >= closes_at + timedelta(seconds=LATE_COMMITS_S)
        after: UUID | None = FIRST_ID
        ended = asked = still_open = 0
        while after is not None:
            await self._fault_points.reach("trading_hours.before_expire")
            page = await expire_orders(self._pool, closes_at, after=after, limit=STEP_ORDERS, at=self._clock.now())
            if page.ended or page.instructed:
                await self._fault_points.reach("trading_hours.after_expire")
            after = page.last_order_id
            ended, asked, still_open = ended + page.ended, asked + page.instructed, still_open + page.still_open
            await asyncio.sleep(STEP_PAUSE_S)
        if ended or asked:
            counter = self._metrics.counter("cell_orders_expired_total")
            counter.labels(self._cell, "cell").inc(ended)
            counter.labels(self._cell, "venue").inc(asked)
            _log.info(
                "end of day",
                extra={"closes_at": closes_at, "ended": ended, "asked_of_the_venue": asked, "still_open": still_open},
            )
        self._past_close += still_open
        if is_last and not still_open:
            await end_session(self._pool, closes_at, self._clock.now())
        return is_last and not still_open

    async def _release(self) -> None:
        """Until a call releases nothing: other writers have those left over, and the next look goes on there."""
        while True:
            await self._fault_points.reach("trading_hours.before_release")
            step = await release_queued(
                self._pool,
                limit=STEP_ORDERS,
                at=self._clock.now(),
                market_hours=self._market_hours,
                after=self._released_after,
            )
            self._released_after = step.next_after
            if not step.released:
                return
            await self._fault_points.reach("trading_hours.after_release")
            self._metrics.counter("cell_orders_released_total").labels(self._cell).inc(step.released)
            _log.info("orders released", extra={"released": step.released, "passed_over": step.passed_over})
            await asyncio.sleep(STEP_PAUSE_S)
