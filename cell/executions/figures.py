"""What waits in the cell, sampled on the worker's own loop: never by a scrape, and never by reading a table.

Each figure is one step of an index, a count that stops, or a view of the server's sessions. They are the leader's: a
standby's stay as at the start, and a database that is away leaves the last ones (`cell_worker_failures_total` says so).
"""

from dataclasses import dataclass
from typing import Final, LiteralString

from cell.executions.repeating import Failures, repeat
from infra.runtime.database import Pool
from infra.runtime.procedures import connected
from infra.runtime.telemetry import Metrics

SAMPLE_PERIOD_S: Final = 5.0
"""A third of the usual 15 s between two scrapes."""
NEVER: Final = -1.0
"""An age of what has not happened yet."""

_READ: Final[LiteralString] = """
select (select count(*) from (select from brokerage.quarantined_reports limit 10000) q),
       (select extract(epoch from clock_v1() - received_at)::float8 from brokerage.inbox order by id limit 1),
       waiting.sessions, waiting.longest_s,
       extract(epoch from clock_v1() - c.as_of)::float8, c.violations
  from (select count(*) as sessions,
               coalesce(max(extract(epoch from clock_timestamp() - query_start)), 0)::float8 as longest_s
          from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock') waiting
  left join brokerage.ledger_checks c on true
"""


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One sample. Ages in seconds."""

    quarantined: int
    """Stops counting at ten thousand."""
    inbox_oldest_age_s: float
    lock_waiters: int
    lock_wait_longest_s: float
    """Since the statement began that waits now."""
    checks_age_s: float
    """Of the last run of the ledger checks; `NEVER` without one."""
    checks_violations: int


async def read_figures(pool: Pool) -> CellFigures:
    """Raises a DatabaseFailure."""
    async with connected(pool) as connection:
        row = await (await connection.execute(_READ)).fetchone()
    assert row is not None
    quarantined, inbox_age_s, waiters, longest_s, checks_age_s, violations = row
    return CellFigures(
        quarantined,
        max(0.0, inbox_age_s or 0.0),
        waiters,
        longest_s,
        NEVER if checks_age_s is None else max(0.0, checks_age_s),
        violations or 0,
    )


class FigureSampling:
    """The gauges of one cell."""

    def __init__(self, pool: Pool, *, cell: str, metrics: Metrics) -> None:
        self._pool = pool
        self._cell = cell
        self._metrics = metrics

    async def run(self) -> None:
        """Sample until cancelled."""
        await repeat("figures", self.sample, Failures(self._metrics, self._cell), every_s=SAMPLE_PERIOD_S)

    async def sample(self) -> None:
        """Raises DatabaseFailure."""
        figures = await read_figures(self._pool)
        for name, value in (
            ("cell_reports_quarantined", figures.quarantined),
            ("cell_inbox_oldest_age_seconds", figures.inbox_oldest_age_s),
            ("cell_database_lock_waiters", figures.lock_waiters),
            ("cell_database_lock_wait_seconds", figures.lock_wait_longest_s),
            ("cell_ledger_checks_age_seconds", figures.checks_age_s),
            ("cell_ledger_checks_violations", figures.checks_violations),
        ):
            self._metrics.gauge(name).labels(self._cell).set(value)
