"""What goes wrong with the control service. Nobody trades worse without it, so nothing here wakes anybody."""

from typing import Final

from monitoring.alert import Alert, Severity

_ONE: Final = 'instance="control:1",job="control"'
_OTHER: Final = 'instance="control:2",job="control"'
_LATE: Final = f'shardctl_schedule_late_seconds{{{_ONE},schedule="reconcile"}}'
_FAILED: Final = f'shardctl_schedule_failed{{{_ONE},schedule="backup"}}'

CONTROL: Final = (
    Alert(
        name="ControlLeaderless",
        query="max(shardctl_leading) == 0 or absent(shardctl_leading)",
        for_s=120,
        severity=Severity.TICKET,
        summary="no control service leads: operations and schedules wait",
        fires={f"shardctl_leading{{{_ONE}}}": "1x3 0x27"},
        labels={},
        quiet=(
            {f"shardctl_leading{{{_ONE}}}": "0x30", f"shardctl_leading{{{_OTHER}}}": "1x30"},
            {f"shardctl_leading{{{_ONE}}}": "1x28 0x1"},
        ),
    ),
    Alert(
        name="ScheduleLate",
        query="shardctl_schedule_late_seconds > 300",
        for_s=60,
        severity=Severity.TICKET,
        summary="the schedule {{ $labels.schedule }} was due and has not begun",
        fires={_LATE: "0+60x30"},
        labels={"instance": "control:1", "job": "control", "schedule": "reconcile"},
        quiet=({_LATE: "0x30"}, {_LATE: "0+60x5 0x24"}),
    ),
    Alert(
        name="IssuerKeysUnavailable",
        query="increase(shardctl_oidc_key_failures_total[5m]) > 0",
        for_s=120,
        severity=Severity.TICKET,
        summary="the keys of the operators' issuer cannot be had: soon nobody is let in but on the machine itself",
        fires={f"shardctl_oidc_key_failures_total{{{_ONE}}}": "0x3 1+1x27"},
        labels={"instance": "control:1", "job": "control"},
        quiet=(
            {f"shardctl_oidc_key_failures_total{{{_ONE}}}": "0x30"},
            {f"shardctl_oidc_key_failures_total{{{_ONE}}}": "7x30"},
        ),
    ),
    Alert(
        name="PersonsPortClosed",
        query="shardctl_oidc_port_closed > 0",
        for_s=60,
        severity=Severity.TICKET,
        summary="the port for operators elsewhere could not be opened: they are let in on the machine itself alone",
        fires={f"shardctl_oidc_port_closed{{{_ONE}}}": "1x30"},
        labels={"instance": "control:1", "job": "control"},
        quiet=({f"shardctl_oidc_port_closed{{{_ONE}}}": "0x30"},),
    ),
    Alert(
        name="BreakGlassUsed",
        query="increase(shardctl_break_glass_total[10m]) > 0",
        for_s=0,
        severity=Severity.TICKET,
        summary="somebody changed something on the machine itself, past the operators' issuer",
        fires={f"shardctl_break_glass_total{{{_ONE}}}": "0x23 1x7"},
        labels={"instance": "control:1", "job": "control"},
        quiet=(
            {f"shardctl_break_glass_total{{{_ONE}}}": "0x30"},
            {f"shardctl_break_glass_total{{{_ONE}}}": "3x30"},
        ),
    ),
    Alert(
        name="ScheduleFailed",
        query="shardctl_schedule_failed > 0",
        for_s=60,
        severity=Severity.TICKET,
        summary="what the schedule {{ $labels.schedule }} began last has failed",
        fires={_FAILED: "1x30"},
        labels={"instance": "control:1", "job": "control", "schedule": "backup"},
        quiet=({_FAILED: "0x30"},),
    ),
)
