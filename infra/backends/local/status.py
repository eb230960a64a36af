"""A process as the supervisor and the operating system see it, as the rows of `shardctl status`."""

from typing import Final

from infra.backends.cell_spec import ProcessKind, ProcessSpec, ProcessStatus
from infra.backends.local.process_facts import own_memory_bytes, tree_memory_bytes, uptime_s
from infra.backends.local.supervisor import Supervised

SUPERVISOR: Final = "supervisor"


def process_row(process: ProcessSpec, seen: Supervised | None) -> ProcessStatus:
    running = seen is not None and seen.pid is not None
    return ProcessStatus(
        name=process.name,
        kind=process.kind,
        cell=process.cell,
        state=seen.state if seen else "stopped",
        pid=seen.pid if seen else None,
        port=process.port if process.port is not None else process.operator_port,
        operator_port=process.operator_port,
        uptime_s=max(0.0, seen.now - seen.started_at) if seen and running else None,
        rss_bytes=tree_memory_bytes(seen.pid) if seen and seen.pid else None,
        detail=seen.detail if seen and seen.state not in ("running", "stopped") else "",
    )


def supervisor_row(pid: int | None) -> ProcessStatus:
    return ProcessStatus(
        name=SUPERVISOR,
        kind=ProcessKind.SUPERVISOR,
        cell=None,
        state="running" if pid else "stopped",
        pid=pid,
        port=None,
        operator_port=None,
        uptime_s=uptime_s(pid) if pid else None,
        rss_bytes=own_memory_bytes(pid) if pid else None,
    )
