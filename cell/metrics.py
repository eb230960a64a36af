"""The metrics of a cell's app servers, in one table (the README's list is made from it)."""

from prometheus_client import Counter, Gauge, Histogram

from infra.runtime.telemetry import Metric

TABLE = (
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
