"""The routers: what comes in, what each cell does with it, what is refused, and how old the map is."""

from typing import Final

from monitoring.dashboard import Dashboard, Panel, Query, Row, Unit, one, quantile, quantiles, rate

ROUTER: Final = Dashboard(
    "cells-router",
    "Router",
    "Requests by cell, refusals, breakers and the map.",
    (
        Row(
            "Requests",
            (
                one(
                    "By cell and answer",
                    Unit.PER_SECOND,
                    rate("router_requests_total", "cell, result"),
                    "{{cell}} {{result}}",
                ),
                quantiles("Latency", "router_request_seconds", "cell"),
                one("Inside a cell", Unit.COUNT, "sum by (cell) (router_requests_in_flight)", "{{cell}}"),
            ),
        ),
        Row(
            "Refused",
            (
                Panel(
                    "For want of a permit",
                    Unit.PER_SECOND,
                    (
                        Query(rate("router_requests_shed_total", "cell"), "shed {{cell}}"),
                        Query(rate("router_requests_over_share_total", "cell"), "over their share {{cell}}"),
                    ),
                ),
                one("By code", Unit.PER_SECOND, rate("router_refusals_total", "code"), "{{code}}"),
                Panel(
                    "By a limit",
                    Unit.PER_SECOND,
                    (
                        Query(rate("router_rejected_by_user_limit_total", "process"), "customers {{process}}"),
                        Query(rate("router_rejected_by_address_limit_total", "process"), "addresses {{process}}"),
                    ),
                ),
                one("Queued for a permit", Unit.COUNT, "sum by (cell) (router_requests_queued)", "{{cell}}"),
            ),
        ),
        Row(
            "Cells as seen from here",
            (
                Panel(
                    "Breakers",
                    Unit.COUNT,
                    (
                        Query("sum by (cell) (router_breakers_open)", "open {{cell}}"),
                        Query(
                            "sum by (cell) (increase(router_breaker_trips_total[$__rate_interval]))", "trips {{cell}}"
                        ),
                    ),
                ),
                Panel(
                    "Broken and misrouted",
                    Unit.PER_SECOND,
                    (
                        Query(rate("router_connections_broken_total", "cell"), "broken {{cell}}"),
                        Query(rate("router_requests_resent_total", "cell"), "sent again {{cell}}"),
                        Query(rate("router_misroutes_total", "cell"), "misrouted {{cell}}"),
                    ),
                ),
                one("Held for a move", Unit.COUNT, "sum by (process) (router_held_requests)", "{{process}}"),
            ),
        ),
        Row(
            "The map, connections, the loop",
            (
                one("Epoch", Unit.COUNT, "max by (process) (router_map_epoch)", "{{process}}"),
                one("Confirmed", Unit.SECONDS, "max by (process) (router_map_age_seconds)", "{{process}} ago"),
                one("Client connections", Unit.COUNT, "sum by (process) (router_client_connections)", "{{process}}"),
                one(
                    "Event loop, p99",
                    Unit.SECONDS,
                    quantile(0.99, "python_event_loop_lag_seconds", "process", 'job="router"'),
                    "{{process}}",
                ),
            ),
        ),
    ),
)
