"""Every metric of the worker, in one table."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from infra.runtime.telemetry import Metric

WORKER_METRICS: Final = (
    Metric("cell_instructions_sent_total", Counter, "instructions sent to the venue", ("cell", "action")),
    Metric("cell_instructions_asked_total", Counter, "orders asked about before a resend", ("cell", "result")),
    Metric("cell_reports_accepted_total", Counter, "reports committed to the inbox", ("cell",)),
    Metric("cell_reports_applied_total", Counter, "reports by what became of them", ("cell", "result")),
    Metric("cell_reports_early", Gauge, "reports that wait for an execution, or for room in their order", ("cell",)),
    Metric("cell_reports_waiting", Gauge, "reports in the inbox that are not applied", ("cell",)),
    Metric("cell_reports_quarantined", Gauge, "reports that wait for a person, up to 10,000", ("cell",)),
    Metric("cell_inbox_oldest_age_seconds", Gauge, "age of the oldest report that is not applied", ("cell",)),
    Metric("cell_reports_apply_seconds", Histogram, "one call that applies reports", ("cell",)),
    Metric("cell_orders_stuck", Gauge, "orders that the venue does not answer and an operator should see", ("cell",)),
    Metric("cell_orders_released_total", Counter, "queued orders sent on their way at an open", ("cell",)),
    Metric(
        "cell_orders_expired_total",
        Counter,
        "day orders ended at a close, by the cell itself or by the venue",
        ("cell", "ended_by"),
    ),
    Metric("cell_orders_past_close", Gauge, "day orders that are open although their session has closed", ("cell",)),
    Metric("cell_trading_sessions_ahead", Gauge, "trading sessions that the cell's calendar still knows", ("cell",)),
    Metric("cell_stops_triggered_total", Counter, "stop orders whose stop was reached", ("cell",)),
    Metric("cell_venue_generation", Gauge, "connections to the venue so far", ("cell",)),
    Metric("cell_venue_connected", Gauge, "whether the venue's session is up", ("cell",)),
    Metric(
        "cell_venue_round_trip_seconds", Histogram, "from an order sent to its first report, of a sample", ("cell",)
    ),
    Metric("cell_database_lock_waiters", Gauge, "sessions of the cell that wait for a lock", ("cell",)),
    Metric("cell_database_lock_wait_seconds", Gauge, "the longest of these waits", ("cell",)),
    Metric("cell_ledger_checks_age_seconds", Gauge, "since the ledger checks last ran; -1 if never", ("cell",)),
    Metric("cell_ledger_checks_violations", Gauge, "rows that they found wrong then", ("cell",)),
    Metric("cell_worker_active", Gauge, "1 in the worker that holds the cell's lock, 0 in a standby", ("cell",)),
    Metric("cell_worker_failures_total", Counter, "database calls that failed and are repeated", ("cell", "task")),
)
