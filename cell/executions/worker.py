"""The cell's worker: instructions out to the venue, reports in from it, reference prices, and small sweeps.

One worker works per cell, its leader (`cell/leadership.py`); a second one waits and takes over when the first one's
database session ends. Everything it knows is in the database: killed at any moment, the next one asks the venue about
what was sent, resumes the session where the inbox ends, and applies what is left in it. Losing the lead ends all work
of this process at once, until it leads again. Should two overlap for a moment nothing doubles: instructions are
marked before they are sent, orders are idempotent at the venue, reports are committed by number and applied once.

A wanted end lets the batches under way end, and gives the lead back before anything else: the next worker takes up what
is in the inbox while this one closes its connections.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from cell.executions.batches import Batches
from cell.executions.database_clock import DatabaseClock
from cell.executions.early import EarlyReports
from cell.executions.exchange_venue import ExchangeVenue
from cell.executions.figures import FigureSampling
from cell.executions.inbox import APPLIERS, Inbox
from cell.executions.instruction_sender import InstructionSender
from cell.executions.metrics import WORKER_METRICS
from cell.executions.prices import ReferencePrices
from cell.executions.queries import (
    end_long_readers,
    prune_idempotency_keys,
    prune_login_sources,
    prune_refresh_families,
    prune_rollups,
)
from cell.executions.repeating import Failures, repeat
from cell.executions.report_queries import received_seq
from cell.executions.round_trip import RoundTrips
from cell.executions.stops import StopTrigger
from cell.executions.sweep import StuckSweep
from cell.executions.trading_hours import TradingHours
from cell.executions.venue import VenueListener
from cell.leadership import Task, check, leading, step_down
from cell.order_log import OrderLog
from cell.settings import CellSettings
from infra.runtime.cancelling import cancel_all
from infra.runtime.clock import Clock, make_clock
from infra.runtime.database import Connection, Pool, answers, make_pool, release_is_installed
from infra.runtime.fault_points import FaultPoints
from infra.runtime.operator_api import create_operator_app, serving
from infra.runtime.procedures import DatabaseFailure, connected
from infra.runtime.shutdown import Shutdown
from infra.runtime.telemetry import Metrics

POOL_SIZE: Final = 15
"""One for each loop below that calls the database, for the lock and for a probe, so that none waits for another's.
Those that nobody needs are not opened."""
STANDBY_PAUSE_S: Final = 0.5
"""Between a standby's tries to lead: the longest that a cell is without a worker after the leader's session ended."""
LOCK_CHECK_S: Final = 1.0
"""How long a worker may go on after it has lost the lead; what it does then is harmless."""
RESUME_PAUSE_S: Final = 0.2
"""After work that the database interrupted."""
HAND_OVER_S: Final = 2.0
"""For the batches under way at a wanted end: milliseconds as a rule. One that waits for a lock for longer is done again
by the next worker."""
HANDED_OVER: Final = "worker.handed_over"
PRUNE_PERIOD_S: Final = 60.0
"""Between two prunes: a minute's worth of old rows goes in a few calls, and rows are kept for days."""
PRUNE_ROWS: Final = 1_000
"""Of one call, which is one transaction."""
ROLLUP_SYMBOLS: Final = 50
"""Told apart in a minute that is over: what a person asks for; the others are one row. Eight days are then at most half
a million small rows."""
ROLLUP_MINUTES: Final = 100
"""Of one call: a day of outage is folded in fifteen."""
PRUNE_STEP_S: Final = 0.1
"""Between calls, so that a long backlog is deleted beside the customers' work."""

_log = logging.getLogger(__name__)


class Worker:
    """One worker process, active or standing by."""

    def __init__(
        self,
        settings: CellSettings,
        *,
        metrics: Metrics,
        shutdown: Shutdown,
        clock: Clock,
        fault_points: FaultPoints | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._shutdown = shutdown
        self._clock = DatabaseClock(clock.monotonic)
        self._fault_points = fault_points or FaultPoints()
        self._pool: Pool = make_pool(settings.postgres, f"{settings.name}-worker", size=POOL_SIZE)
        took = metrics.histogram("cell_venue_round_trip_seconds").labels(settings.name)
        self._venue = ExchangeVenue(settings.exchange.address, settings.name, RoundTrips(took.observe, clock.monotonic))
        self._active = False

    async def run(self) -> None:
        """Work, or stand by, until the end is asked for."""
        async with self._pool:
            while not self._shutdown.asked:
                try:
                    await self._run_if_alone()
                except DatabaseFailure as error:
                    _log.warning("work interrupted", extra={"detail": str(error)})
                    await self._shutdown.sleep(RESUME_PAUSE_S)
                finally:
                    self._set_active(False)

    async def ready(self) -> tuple[bool, Mapping[str, object]]:
        """Active with a venue, or ready to become active."""
        database = await answers(self._pool)
        has_code = database and await release_is_installed(self._pool, self._settings.postgres)
        facts: dict[str, object] = {
            "role": "active" if self._active else "standby",
            "database": database,
            "code": self._settings.postgres.code,
            "code_installed": has_code,
            "venue": self._venue.connected,
        }
        return has_code and (self._venue.connected or not self._active), facts

    async def _run_if_alone(self) -> None:
        async with (
            connected(self._pool) as connection,
            leading(connection, Task.WORKER, incarnation=self._settings.incarnation) as leads,
        ):
            if leads:
                self._set_active(True)
                await self._work(connection)
                return
        await self._shutdown.sleep(STANDBY_PAUSE_S)

    async def _work(self, connection: Connection) -> None:
        cell, pool, venue = self._settings.name, self._pool, self._venue
        failures = Failures(self._metrics, cell)
        await self._clock.read(pool)
        order_log = OrderLog(self._settings.log_orders_one_in)
        batches = Batches()
        inbox = Inbox(
            pool,
            venue,
            cell=cell,
            clock=self._clock,
            metrics=self._metrics,
            fault_points=self._fault_points,
            order_log=order_log,
            batches=batches,
        )
        sender = InstructionSender(
            pool,
            venue,
            cell=cell,
            metrics=self._metrics,
            fault_points=self._fault_points,
            order_log=order_log,
            batches=batches,
        )
        stops = StopTrigger(
            pool,
            cell=cell,
            market_hours=self._settings.market_hours,
            clock=self._clock,
            metrics=self._metrics,
        )
        unanswered = StuckSweep(pool, venue, sender.send, cell=cell, clock=self._clock, metrics=self._metrics)
        figures = FigureSampling(pool, cell=cell, metrics=self._metrics)
        early = EarlyReports(pool, cell=cell, clock=self._clock, metrics=self._metrics)
        trading_hours = TradingHours(
            pool,
            cell=cell,
            market_hours=self._settings.market_hours,
            clock=self._clock,
            metrics=self._metrics,
            fault_points=self._fault_points,
        )
        prices = ReferencePrices(pool, cell=cell, clock=self._clock, metrics=self._metrics, on_written=stops.hear)
        listener = VenueListener(
            received_seq=lambda: received_seq(pool, venue.name, venue.session),
            on_reports=inbox.put,
            on_prices=prices.hear,
        )
        await inbox.recover()
        loops = (
            sender.run(),
            venue.run(listener),
            unanswered.run(),
            inbox.run_intake(),
            inbox.run_lookout(),
            early.run(),
            figures.run(),
            prices.run(),
            stops.run(),
            trading_hours.run(),
        )
        tasks = [asyncio.create_task(loop) for loop in loops]
        tasks += [asyncio.create_task(inbox.run_applier()) for _ in range(APPLIERS)]
        tasks += [asyncio.create_task(self._prune(failures)), asyncio.create_task(self._watch(connection))]
        tasks.append(asyncio.create_task(self._clock.follow(pool, failures)))
        asked = asyncio.create_task(self._shutdown.wait())
        try:
            ended, _ = await asyncio.wait((asked, *tasks), return_when=asyncio.FIRST_COMPLETED)
            if asked in ended:
                await self._hand_over(connection, batches)
            for task in ended - {asked}:
                task.result()  # none of the loops ends by itself: this says why it did
        finally:
            await cancel_all((asked, *tasks))

    async def _hand_over(self, connection: Connection, batches: Batches) -> None:
        """Whoever stands by leads from now on; what this process still ends is harmless beside it."""
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await batches.close()
        except TimeoutError:
            _log.info("a batch did not end in time, the next worker does it again")
        await step_down(connection)
        self._set_active(False)
        await self._fault_points.reach(HANDED_OVER)

    async def _watch(self, connection: Connection) -> None:
        """Notice the loss of the lead; say whether the venue is there."""
        while True:
            await check(connection)
            self._metrics.gauge("cell_venue_connected").labels(self._settings.name).set(int(self._venue.connected))
            await asyncio.sleep(LOCK_CHECK_S)

    async def _prune(self, failures: Failures) -> None:
        await repeat("prune", self._prune_once, failures, every_s=PRUNE_PERIOD_S, first_after_s=PRUNE_PERIOD_S)

    async def _prune_once(self) -> None:
        """Delete what nobody may rely on any more, a few at a time: keys, ended logins, guesses at passwords. End the
        sessions of who reads for too long."""
        older_than = self._clock.now() - timedelta(days=self._settings.idempotency_days)
        await end_long_readers(self._pool)
        for prune in (prune_idempotency_keys, prune_refresh_families, prune_login_sources):
            pruned = PRUNE_ROWS
            while pruned >= PRUNE_ROWS:
                pruned = await prune(self._pool, older_than, PRUNE_ROWS)
                await asyncio.sleep(PRUNE_STEP_S)
        oldest = self._clock.now() - timedelta(days=self._settings.rollup_days)
        pruned = ROLLUP_MINUTES
        while pruned >= ROLLUP_MINUTES:
            pruned = await prune_rollups(self._pool, oldest, symbols=ROLLUP_SYMBOLS, minutes=ROLLUP_MINUTES)
            await asyncio.sleep(PRUNE_STEP_S)

    def _set_active(self, active: bool) -> None:
        if active != self._active:
            _log.info("worker active" if active else "worker not active", extra={"cell": self._settings.name})
        self._active = active
        self._metrics.gauge("cell_worker_active").labels(self._settings.name).set(int(active))


async def run_worker(settings: CellSettings, *, shutdown: Shutdown | None = None) -> None:
    """The process `python -m cell work`: work until a signal, then end within seconds."""
    if shutdown is None:
        shutdown = Shutdown()
        shutdown.install()
    metrics = Metrics(WORKER_METRICS)
    worker = Worker(settings, metrics=metrics, shutdown=shutdown, clock=make_clock(settings.clock.offset_s))
    app = create_operator_app(metrics=metrics, ready=worker.ready)
    async with serving(app, settings.operator):
        await worker.run()
