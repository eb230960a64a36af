"""What can be wrong with a process whatever it does: gone, without a lead, behind its own timers, short of files.

Not here: disks. No process of a stack exports its disk; where a node exporter runs, its own rules watch it.
"""

from typing import Final

from monitoring.alert import Alert, Severity

_LABELS: Final = {"instance": "127.0.0.1:1", "job": "api", "process": "cell-1-api-1", "cell": "cell-1"}
_SERIES: Final = ",".join(f'{name}="{value}"' for name, value in _LABELS.items())


def _no_leader(name: str, job: str, metric: str, what: str) -> Alert:
    one, other = (f'cell="cell-1",instance="cell-1-{job}:{number}",job="{job}"' for number in (1, 2))
    return Alert(
        name=name,
        query=f'count by (cell) (up{{job="{job}"}}) unless on (cell) max by (cell) ({metric}) == 1',
        for_s=15,
        severity=Severity.PAGE,
        summary=f"{{{{ $labels.cell }}}}: no {job} leads, {what}",
        fires={f"up{{{one}}}": "1x30", f"up{{{other}}}": "0x30", f"{metric}{{{one}}}": "0x30"},
        labels={"cell": "cell-1"},
        quiet=(
            {f"up{{{one}}}": "1x30", f"{metric}{{{one}}}": "1x30"},
            {f"up{{{one}}}": "1x30", f"{metric}{{{one}}}": "0x30", f"{metric}{{{other}}}": "1x30"},
        ),
    )


def _lag(soon: str, all_: str) -> dict[str, str]:
    return {
        f'python_event_loop_lag_seconds_bucket{{{_SERIES},le="0.1"}}': soon,
        f"python_event_loop_lag_seconds_count{{{_SERIES}}}": all_,
    }


PROCESSES: Final = (
    Alert(
        name="ProcessDown",
        query="up == 0",
        for_s=15,
        severity=Severity.PAGE,
        summary="{{ $labels.process }} does not answer",
        fires={f"up{{{_SERIES}}}": "1x15 0x15"},
        labels=_LABELS,
        quiet=({f"up{{{_SERIES}}}": "1x30"}, {f"up{{{_SERIES}}}": "1x28 0x1"}),
    ),
    _no_leader("WorkerLeaderless", "worker", "cell_worker_active", "orders stay here and reports with the venue"),
    _no_leader("RelayLeaderless", "relay", "cell_outbox_active", "events are not published"),
    Alert(
        name="ProcessRestarting",
        query="changes(process_start_time_seconds[15m]) > 3",
        for_s=0,
        severity=Severity.PAGE,
        summary="{{ $labels.process }} starts again and again",
        fires={f"process_start_time_seconds{{{_SERIES}}}": "0+100x30"},
        labels=_LABELS,
        quiet=({f"process_start_time_seconds{{{_SERIES}}}": "100x25 200x4"},),
    ),
    Alert(
        name="EventLoopLate",
        query=(
            '1 - rate(python_event_loop_lag_seconds_bucket{le="0.1"}[5m]) '
            "/ ignoring (le) rate(python_event_loop_lag_seconds_count[5m]) > 0.1"
        ),
        for_s=120,
        severity=Severity.TICKET,
        summary="{{ $labels.process }}: its event loop is often late by more than 0.1 s",
        fires=_lag("0+20x30", "0+30x30"),
        labels=_LABELS,
        quiet=(_lag("0+29x30", "0+30x30"),),
    ),
    Alert(
        name="FilesShort",
        query="process_open_fds / process_max_fds > 0.8",
        for_s=60,
        severity=Severity.TICKET,
        summary="{{ $labels.process }} has nearly as many files and sockets open as it may",
        fires={f"process_open_fds{{{_SERIES}}}": "900x30", f"process_max_fds{{{_SERIES}}}": "1024x30"},
        labels=_LABELS,
        quiet=({f"process_open_fds{{{_SERIES}}}": "100x30", f"process_max_fds{{{_SERIES}}}": "1024x30"},),
    ),
)
