"""Every metric of the relay, in one table."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from infra.runtime.telemetry import Metric

RELAY_METRICS: Final = (
    Metric("cell_outbox_pending_rows", Gauge, "rows written and not yet confirmed by Kafka", ("cell",)),
    Metric("cell_outbox_oldest_age_seconds", Gauge, "age of the oldest such row", ("cell",)),
    Metric(
        "cell_outbox_published_events_total", Counter, "events confirmed by Kafka, copies included", ("cell", "stream")
    ),
    Metric("cell_outbox_failures_total", Counter, "rounds that failed, by what failed", ("cell", "result")),
    Metric("cell_outbox_batch_seconds", Histogram, "from the claim of a batch to its deletion", ("cell",)),
    Metric("cell_outbox_active", Gauge, "1 on the relay that holds the lock", ("cell",)),
)
