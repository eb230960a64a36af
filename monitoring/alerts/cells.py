"""What goes wrong inside a cell: money that waits, reports that nobody can judge, events that are not published.

The worker's gauges count only where the worker leads: who has lost the lead still shows its last figures.
"""

from typing import Final

from monitoring.alert import Alert, Severity, worker

_LEADS: Final = "and on (instance) cell_worker_active == 1"
_CELL: Final = {"cell": "cell-1"}
_WORKER: Final = {"cell": "cell-1", "instance": "cell-1-worker:1", "job": "worker"}
_RELAY: Final = {"cell": "cell-1", "instance": "cell-1-relay:1", "job": "relay"}
_RELAY_SERIES: Final = '{cell="cell-1",instance="cell-1-relay:1",job="relay"}'


def _gauge(
    name: str, metric: str, limit: str, for_s: int, severity: Severity, summary: str, *, bad: str, good: str
) -> Alert:
    """A gauge of the leading worker above its limit."""
    return Alert(
        name=name,
        query=f"{metric} > {limit} {_LEADS}",
        for_s=for_s,
        severity=severity,
        summary=summary,
        fires=worker(metric, bad),
        labels=_WORKER,
        quiet=(worker(metric, good), worker(metric, bad, active="0x30")),
    )


CELLS: Final = (
    _gauge(
        "OrdersStuck",
        "cell_orders_stuck",
        "0",
        60,
        Severity.PAGE,
        "{{ $labels.cell }}: the venue does not answer about orders, and their funds are held",
        bad="3x30",
        good="0x30",
    ),
    _gauge(
        "ReportsQuarantined",
        "cell_reports_quarantined",
        "0",
        60,
        Severity.TICKET,
        "{{ $labels.cell }}: execution reports wait for a person",
        bad="1x30",
        good="0x30",
    ),
    _gauge(
        "InboxBehind",
        "cell_inbox_oldest_age_seconds",
        "30",
        60,
        Severity.PAGE,
        "{{ $labels.cell }}: a report of the venue has not been applied for half a minute",
        bad="0+15x30",
        good="20x30",
    ),
    Alert(
        name="OutboxBehind",
        query="cell_outbox_oldest_age_seconds > 60",
        for_s=60,
        severity=Severity.TICKET,
        summary="{{ $labels.cell }}: events have not been published for over a minute",
        fires={f"cell_outbox_oldest_age_seconds{_RELAY_SERIES}": "0+15x30"},
        labels=_RELAY,
        quiet=({f"cell_outbox_oldest_age_seconds{_RELAY_SERIES}": "30x30"},),
    ),
    Alert(
        name="OutboxGrowing",
        query="cell_outbox_pending_rows > 100000",
        for_s=300,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: more than 100,000 events wait to be published",
        fires={f"cell_outbox_pending_rows{_RELAY_SERIES}": "0+10000x30"},
        labels=_RELAY,
        quiet=({f"cell_outbox_pending_rows{_RELAY_SERIES}": "0+5000x9 50000x20"},),
    ),
    _gauge(
        "LedgerChecksRed",
        "cell_ledger_checks_violations",
        "0",
        0,
        Severity.PAGE,
        "{{ $labels.cell }}: the ledger checks found rows that are wrong",
        bad="1x30",
        good="0x30",
    ),
    Alert(
        name="LedgerChecksOld",
        query=f"(cell_ledger_checks_age_seconds > 93600 or cell_ledger_checks_age_seconds < 0) {_LEADS}",
        for_s=600,
        severity=Severity.TICKET,
        summary="{{ $labels.cell }}: the ledger checks have not run for 26 hours, or never",
        fires=worker("cell_ledger_checks_age_seconds", "-1x30"),
        labels=_WORKER,
        quiet=(
            worker("cell_ledger_checks_age_seconds", "80000+30x30"),
            worker("cell_ledger_checks_age_seconds", "-1x10 5+30x19"),
        ),
    ),
    Alert(
        name="VenueAway",
        query=f"cell_venue_connected == 0 {_LEADS}",
        for_s=30,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: no session with the venue, orders wait",
        fires=worker("cell_venue_connected", "0x30"),
        labels=_WORKER,
        quiet=(worker("cell_venue_connected", "1x30"), worker("cell_venue_connected", "0x30", active="0x30")),
    ),
    Alert(
        name="VenueSlow",
        query="histogram_quantile(0.95, sum by (cell, le) (rate(cell_venue_round_trip_seconds_bucket[5m]))) > 1",
        for_s=300,
        severity=Severity.TICKET,
        summary="{{ $labels.cell }}: the venue takes longer than a second to acknowledge one order in twenty",
        fires={
            'cell_venue_round_trip_seconds_bucket{cell="cell-1",le="1.0"}': "0+1x30",
            'cell_venue_round_trip_seconds_bucket{cell="cell-1",le="5.0"}': "0+9x30",
            'cell_venue_round_trip_seconds_bucket{cell="cell-1",le="+Inf"}': "0+10x30",
        },
        labels=_CELL,
        quiet=(
            {
                'cell_venue_round_trip_seconds_bucket{cell="cell-1",le="0.5"}': "0+10x30",
                'cell_venue_round_trip_seconds_bucket{cell="cell-1",le="+Inf"}': "0+10x30",
            },
        ),
    ),
    _gauge(
        "DayOrdersPastClose",
        "cell_orders_past_close",
        "0",
        300,
        Severity.TICKET,
        "{{ $labels.cell }}: day orders are open after their session",
        bad="2x30",
        good="2x5 0x24",
    ),
    _gauge(
        "DatabaseLockHeld",
        "cell_database_lock_wait_seconds",
        "5",
        30,
        Severity.PAGE,
        "{{ $labels.cell }}: a session has waited for a lock for over five seconds",
        bad="0+15x30",
        good="1x30",
    ),
    Alert(
        name="ConnectionsShort",
        query='rate(cell_pool_refusals_total{pool="customers"}[5m]) > 0.1',
        for_s=120,
        severity=Severity.PAGE,
        summary="{{ $labels.process }}: requests get no connection to the database",
        fires={'cell_pool_refusals_total{cell="cell-1",process="cell-1-api-1",pool="customers"}': "0+15x30"},
        labels={"cell": "cell-1", "process": "cell-1-api-1", "pool": "customers"},
        quiet=({'cell_pool_refusals_total{cell="cell-1",process="cell-1-api-1",pool="customers"}': "5x30"},),
    ),
    Alert(
        name="WorkerCallsFailing",
        query="sum by (cell) (rate(cell_worker_failures_total[5m])) > 0.2",
        for_s=120,
        severity=Severity.PAGE,
        summary="{{ $labels.cell }}: the worker's calls of the database fail",
        fires={'cell_worker_failures_total{cell="cell-1",task="apply"}': "0+15x30"},
        labels=_CELL,
        quiet=({'cell_worker_failures_total{cell="cell-1",task="apply"}': "0x5 7x24"},),
    ),
)
