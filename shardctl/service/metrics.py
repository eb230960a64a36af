"""Every metric of the control service, in one table; the README's list is generated from it."""

from typing import Final

from prometheus_client import Counter, Gauge

from infra.runtime.telemetry import Metric

METRICS: Final = (
    Metric("shardctl_leading", Gauge, "1 while this process leads."),
    Metric("shardctl_lease_number", Gauge, "Number of the last lease that this process held."),
    Metric("shardctl_leases_ended_total", Counter, "Leases that this process held and holds no more."),
    Metric("shardctl_operations_active", Gauge, "Operations that this process is executing."),
    Metric("shardctl_operations_ended_total", Counter, "Operations that it brought to an end.", ("kind", "state")),
    Metric("shardctl_operation_failures_total", Counter, "Runs that stopped without an end, and were begun again."),
)
