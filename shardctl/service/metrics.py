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
    Metric("shardctl_schedule_late_seconds", Gauge, "Since it was due and has not begun; 0 if in time.", ("schedule",)),
    Metric("shardctl_schedule_failed", Gauge, "1 if the operation that it began last has failed.", ("schedule",)),
    Metric("shardctl_watch_repairs_total", Counter, "What a watch mended by itself.", ("watch",)),
    Metric("shardctl_watch_failures_total", Counter, "Looks of a watch that failed, and are repeated.", ("watch",)),
    Metric("shardctl_samples_total", Counter, "Samples of a process's counters that were kept."),
    Metric("shardctl_sample_gaps_total", Counter, "Samples missing because the process did not answer."),
    Metric("shardctl_oidc_refused_total", Counter, "Requests of persons whose token was not taken.", ("why",)),
    Metric("shardctl_oidc_key_failures_total", Counter, "Times that the issuer's keys could not be had."),
    Metric("shardctl_oidc_port_closed", Gauge, "1 if the port for persons elsewhere could not be opened."),
    Metric("shardctl_break_glass_total", Counter, "Changes asked for on the socket though persons have an issuer."),
    Metric("shardctl_audited_requests_total", Counter, "Requests that may change something, by outcome.", ("outcome",)),
    Metric("shardctl_unauthenticated_total", Counter, "Requests of somebody unknown: counted, not recorded."),
    Metric("shardctl_audit_head_published", Gauge, "Row that was published last as the head of the audit chain."),
    Metric("shardctl_operation_failures_total", Counter, "Runs that stopped without an end, and were begun again."),
)
