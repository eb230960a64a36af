"""Every metric of the exchange, in one table; the README's list is generated from it."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from infra.runtime.telemetry import Metric

METRICS: Final = (
    Metric("exchange_messages_total", Counter, "messages read from cells", ("kind",)),
    Metric("exchange_reports_total", Counter, "reports made durable"),
    Metric("exchange_bad_frames_total", Counter, "connections closed for bytes that are not our protocol"),
    Metric("exchange_commit_seconds", Histogram, "time to make one batch durable"),
    Metric("exchange_commit_rows", Histogram, "rows in one batch", buckets=(1, 4, 16, 64, 256, 1_024, 4_096, 16_384)),
    Metric("exchange_live_orders", Gauge, "orders in memory"),
    Metric("exchange_connected_sessions", Gauge, "cells connected now"),
)
