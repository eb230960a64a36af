"""Reports that came before what they need: counted, and quarantined when their time is over.

A bust or a correction may overtake its fill (a venue that resends, a second session), and a fill the bust or
correction that makes room for it in the order. It waits, and the very call that applies what it waits for, or hears
that it needs no room, returns it to the inbox; nothing here has a part in that. What is left is the bound: what did
not come within a day is for a person, so the report goes to the quarantine. Never applied on a guess, never dropped.
Safe to be killed at any moment: every step is one transaction, and rows say what is due.
"""

import logging
from typing import Final

from cell.executions.repeating import Failures, repeat
from cell.executions.report_queries import count_early, end_early_reports
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.telemetry import Metrics

CHECK_PERIOD_S: Final = 5.0
"""How late the gauge and the end of a day's wait may be."""
STEP_REPORTS: Final = 512
"""Reports of one call, which is one transaction."""

_log = logging.getLogger(__name__)


class EarlyReports:
    """The early reports of one cell."""

    def __init__(self, pool: Pool, *, cell: str, clock: Clock, metrics: Metrics) -> None:
        self._pool = pool
        self._cell = cell
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Look until cancelled."""
        await repeat("early", self.look, Failures(self._metrics, self._cell), every_s=CHECK_PERIOD_S)

    async def look(self) -> None:
        """Count what waits, after quarantining what has waited long enough."""
        ended = STEP_REPORTS
        while ended >= STEP_REPORTS:
            overdue = await end_early_reports(self._pool, self._clock.now(), STEP_REPORTS)
            for inbox_id, order_id, reason in overdue:
                about = {"inbox_id": inbox_id, "order_id": str(order_id), "reason": reason}
                _log.error("a report waited in vain, it is quarantined", extra=about)
            self._metrics.counter("cell_reports_applied_total").labels(self._cell, "quarantined").inc(len(overdue))
            ended = len(overdue)
        self._metrics.gauge("cell_reports_early").labels(self._cell).set(await count_early(self._pool))
