"""All cells beside each other: which one is not like the others?"""

from typing import Final

from monitoring.dashboard import Dashboard, Panel, Query, Row, Shape, Unit, one, quantile, rate

_PLACED: Final = 'route="place"'

FLEET: Final = Dashboard(
    "cells-fleet",
    "Fleet",
    "Rate, errors and latency of every cell, and what waits anywhere.",
    (
        Row(
            "At a glance",
            (
                one(
                    "Processes that do not answer",
                    Unit.COUNT,
                    "count(up == 0) or vector(0)",
                    "down",
                    shape=Shape.FIGURE,
                ),
                one("Orders stuck", Unit.COUNT, "sum(cell_orders_stuck)", "stuck", shape=Shape.FIGURE),
                one(
                    "Reports in quarantine", Unit.COUNT, "sum(cell_reports_quarantined)", "reports", shape=Shape.FIGURE
                ),
                one(
                    "Ledger rows that are wrong",
                    Unit.COUNT,
                    "sum(cell_ledger_checks_violations)",
                    "rows",
                    shape=Shape.FIGURE,
                ),
            ),
        ),
        Row(
            "Customers",
            (
                one("Requests", Unit.PER_SECOND, rate("router_requests_total", "cell"), "{{cell}}"),
                one(
                    "Requests that fail",
                    Unit.SHARE,
                    rate('router_requests_total{result="5xx"}', "cell") + " / " + rate("router_requests_total", "cell"),
                    "{{cell}}",
                ),
                one(
                    "Orders acknowledged, p95",
                    Unit.SECONDS,
                    quantile(0.95, "cell_request_seconds", "cell", _PLACED),
                    "{{cell}}",
                    help="Promised: 0.5 s.",
                ),
            ),
        ),
        Row(
            "What waits",
            (
                one(
                    "Oldest event not published",
                    Unit.SECONDS,
                    "max by (cell) (cell_outbox_oldest_age_seconds)",
                    "{{cell}}",
                ),
                one(
                    "Oldest report not applied",
                    Unit.SECONDS,
                    "max by (cell) (cell_inbox_oldest_age_seconds)",
                    "{{cell}}",
                ),
                one(
                    "Ledger checks ran", Unit.SECONDS, "max by (cell) (cell_ledger_checks_age_seconds)", "{{cell}} ago"
                ),
            ),
        ),
        Row(
            "Machines",
            (
                one(
                    "Processor", Unit.COUNT, rate("process_cpu_seconds_total", "process"), "{{process}}", help="Cores."
                ),
                one("Memory", Unit.BYTES, "process_resident_memory_bytes", "{{process}}"),
                Panel(
                    "Leaders",
                    Unit.COUNT,
                    (
                        Query("sum by (cell) (cell_worker_active)", "worker {{cell}}"),
                        Query("sum by (cell) (cell_outbox_active)", "relay {{cell}}"),
                    ),
                    "One each, always.",
                ),
            ),
        ),
    ),
)
