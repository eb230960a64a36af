"""The metrics of a cell's app servers, in one table (the README's list is made from it).

`COMMANDS` are the client library's own objects; `REQUESTS`, `LATENCY` and `POOLS` are plain numbers until somebody asks
(`request_figures.py`).
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from infra.runtime.telemetry import Metric

REQUESTS: Final = Metric(
    "cell_requests_total", Counter, "Customers' requests answered, by route and class of status.", ("route", "result")
)
LATENCY: Final = Metric(
    "cell_request_seconds", Histogram, "From a customer's request to its answer; placing promises 0.5 s.", ("route",)
)
POOLS: Final = (
    Metric("cell_pool_connections", Gauge, "Connections to the database, by pool.", ("pool",)),
    Metric("cell_pool_connections_idle", Gauge, "Of these, not lent.", ("pool",)),
    Metric("cell_pool_requests_waiting", Gauge, "Requests that wait for a connection.", ("pool",)),
    Metric("cell_pool_waits_total", Counter, "Requests that had to wait for a connection.", ("pool",)),
    Metric("cell_pool_wait_seconds_total", Counter, "How long they waited, together.", ("pool",)),
    Metric("cell_pool_refusals_total", Counter, "Requests that got no connection in time.", ("pool",)),
    Metric("cell_pool_share_waiting", Gauge, "Requests that wait for their user's share of the connections."),
)
COMMANDS: Final = (
    Metric("cell_commands_total", Counter, "Commands answered, by kind and outcome.", ("kind", "outcome")),
    Metric("cell_commands_replayed_total", Counter, "Commands answered from their idempotency key.", ("kind",)),
    Metric("cell_commands_waiting", Gauge, "Commands waiting for a batch in this process."),
    Metric(
        "cell_batch_commands",
        Histogram,
        "Commands per procedure call.",
        ("kind",),
        buckets=(1, 2, 4, 8, 16, 32, 48, 64),
    ),
    Metric("cell_batch_seconds", Histogram, "Duration of a procedure call.", ("kind",)),
    Metric(
        "cell_commands_deferred_total", Counter, "Commands deferred because another writer had the user.", ("kind",)
    ),
    Metric("cell_batches_split_total", Counter, "Failed calls that were rerun one command at a time.", ("kind",)),
    Metric("cell_batches_resent_total", Counter, "Calls sent again after a lost connection.", ("kind",)),
    Metric(
        "cell_batches_unconnected_total",
        Counter,
        "Calls that found no connection to the database, and waited.",
        ("kind",),
    ),
    Metric("cell_passwords_hashed_total", Counter, "Passwords hashed or verified.", ("operation",)),
    Metric(
        "cell_logins_refused_total",
        Counter,
        "Logins refused: too many guesses at one account, or too many waiting.",
        ("reason",),
    ),
)
TABLE: Final = (REQUESTS, LATENCY, *POOLS, *COMMANDS)
