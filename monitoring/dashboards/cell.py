"""One cell from the outside in: its app servers, its database, its worker and venue, its relay, its books."""

from typing import Final

from monitoring.dashboard import Dashboard, Panel, Query, Row, Unit, one, quantile, quantiles, rate

_OF: Final = 'cell=~"$cell"'

CELL: Final = Dashboard(
    "cells-cell",
    "Cell",
    "Everything about one cell.",
    (
        Row(
            "Requests",
            (
                one("By route", Unit.PER_SECOND, rate(f"cell_requests_total{{{_OF}}}", "route"), "{{route}}"),
                one("By answer", Unit.PER_SECOND, rate(f"cell_requests_total{{{_OF}}}", "result"), "{{result}}"),
                quantiles(
                    "Orders acknowledged", "cell_request_seconds", "cell", f'{_OF},route="place"', help="p95: 0.5 s."
                ),
                one(
                    "Commands by outcome",
                    Unit.PER_SECOND,
                    rate(f"cell_commands_total{{{_OF}}}", "kind, outcome"),
                    "{{kind}} {{outcome}}",
                ),
            ),
        ),
        Row(
            "Batches and the database",
            (
                one(
                    "Commands per call",
                    Unit.COUNT,
                    rate(f"cell_batch_commands_sum{{{_OF}}}", "kind")
                    + " / "
                    + rate(f"cell_batch_commands_count{{{_OF}}}", "kind"),
                    "{{kind}}",
                ),
                quantiles("Duration of a call", "cell_batch_seconds", "kind", _OF),
                Panel(
                    "Waits",
                    Unit.COUNT,
                    (
                        Query(f"sum by (process) (cell_commands_waiting{{{_OF}}})", "commands, {{process}}"),
                        Query(f"sum by (pool) (cell_pool_requests_waiting{{{_OF}}})", "connections, {{pool}}"),
                        Query(f"sum(cell_pool_share_waiting{{{_OF}}})", "shares"),
                        Query(f"max by (cell) (cell_database_lock_waiters{{{_OF}}})", "locks, {{cell}}"),
                    ),
                ),
                Panel(
                    "Held up",
                    Unit.PER_SECOND,
                    (
                        Query(rate(f"cell_commands_deferred_total{{{_OF}}}", "kind"), "deferred {{kind}}"),
                        Query(rate(f"cell_batches_split_total{{{_OF}}}", "kind"), "split {{kind}}"),
                        Query(rate(f"cell_batches_resent_total{{{_OF}}}", "kind"), "resent {{kind}}"),
                        Query(rate(f"cell_pool_refusals_total{{{_OF}}}", "pool"), "no connection, {{pool}}"),
                    ),
                ),
            ),
        ),
        Row(
            "The venue",
            (
                one(
                    "Instructions sent",
                    Unit.PER_SECOND,
                    rate(f"cell_instructions_sent_total{{{_OF}}}", "action"),
                    "{{action}}",
                ),
                one("Reports", Unit.PER_SECOND, rate(f"cell_reports_applied_total{{{_OF}}}", "result"), "{{result}}"),
                quantiles("Round trip", "cell_venue_round_trip_seconds", "cell", _OF),
                Panel(
                    "Reports that wait",
                    Unit.COUNT,
                    (
                        Query(f"max by (cell) (cell_reports_waiting{{{_OF}}})", "inbox {{cell}}"),
                        Query(f"max by (cell) (cell_reports_early{{{_OF}}})", "early {{cell}}"),
                        Query(f"max by (cell) (cell_reports_quarantined{{{_OF}}})", "quarantine {{cell}}"),
                        Query(f"max by (cell) (cell_orders_stuck{{{_OF}}})", "stuck orders {{cell}}"),
                    ),
                ),
            ),
        ),
        Row(
            "Events and books",
            (
                one(
                    "Events published",
                    Unit.PER_SECOND,
                    rate(f"cell_outbox_published_events_total{{{_OF}}}", "stream"),
                    "{{stream}}",
                ),
                one("Rows to publish", Unit.COUNT, f"max by (cell) (cell_outbox_pending_rows{{{_OF}}})", "{{cell}}"),
                Panel(
                    "Ages",
                    Unit.SECONDS,
                    (
                        Query(f"max by (cell) (cell_outbox_oldest_age_seconds{{{_OF}}})", "outbox {{cell}}"),
                        Query(f"max by (cell) (cell_inbox_oldest_age_seconds{{{_OF}}})", "inbox {{cell}}"),
                        Query(f"max by (cell) (cell_database_lock_wait_seconds{{{_OF}}})", "lock {{cell}}"),
                    ),
                ),
                one(
                    "Event loops, p99",
                    Unit.SECONDS,
                    quantile(0.99, "python_event_loop_lag_seconds", "process", _OF),
                    "{{process}}",
                ),
            ),
        ),
    ),
    chooses_cell=True,
)
