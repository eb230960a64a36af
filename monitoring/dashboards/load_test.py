"""A load test while it runs: how much comes, who is served, who is shed, and what is exhausted first."""

from typing import Final

from monitoring.dashboard import Dashboard, Panel, Query, Row, Unit, one, quantile, quantiles, rate

LOAD_TEST: Final = Dashboard(
    "cells-load-test",
    "Load test",
    "From the router to the venue and back, while a load test runs.",
    (
        Row(
            "Served and refused",
            (
                one("Requests", Unit.PER_SECOND, rate("router_requests_total", "cell, result"), "{{cell}} {{result}}"),
                one("Shed", Unit.PER_SECOND, rate("router_requests_shed_total", "cell"), "{{cell}}"),
                one(
                    "Orders accepted",
                    Unit.PER_SECOND,
                    rate('cell_commands_total{kind="place",outcome="accepted"}', "cell"),
                    "{{cell}}",
                ),
            ),
        ),
        Row(
            "How long",
            (
                quantiles("At the router", "router_request_seconds", "cell"),
                quantiles("Orders, in the cell", "cell_request_seconds", "cell", 'route="place"'),
                quantiles("The database's call", "cell_batch_seconds", "cell", 'kind="place"'),
                quantiles("The venue's round trip", "cell_venue_round_trip_seconds", "cell"),
            ),
        ),
        Row(
            "What is exhausted",
            (
                Panel(
                    "Queues",
                    Unit.COUNT,
                    (
                        Query("sum by (cell) (router_requests_queued)", "router {{cell}}"),
                        Query("sum by (cell) (cell_commands_waiting)", "commands {{cell}}"),
                        Query("max by (cell) (cell_reports_waiting)", "reports {{cell}}"),
                        Query("max by (cell) (cell_outbox_pending_rows)", "events {{cell}}"),
                    ),
                ),
                one(
                    "Seconds of waiting for a connection, per second",
                    Unit.COUNT,
                    rate("cell_pool_wait_seconds_total", "pool"),
                    "{{pool}}",
                ),
                one(
                    "Processor", Unit.COUNT, rate("process_cpu_seconds_total", "process"), "{{process}}", help="Cores."
                ),
                one(
                    "Event loops, p99",
                    Unit.SECONDS,
                    quantile(0.99, "python_event_loop_lag_seconds", "process"),
                    "{{process}}",
                ),
            ),
        ),
        Row(
            "The exchange",
            (
                one("Reports", Unit.PER_SECOND, rate("exchange_reports_total", "process"), "{{process}}"),
                quantiles("Time to make a batch durable", "exchange_commit_seconds", "process"),
                one("Live orders", Unit.COUNT, "sum(exchange_live_orders)", "orders"),
            ),
        ),
    ),
)
