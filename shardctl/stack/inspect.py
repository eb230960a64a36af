"""What a stack consists of, for `shardctl status`: its processes, and its addresses as shell variables."""

import shlex
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from infra.backends.addresses import CONTROL_POSTGRES
from infra.backends.backend import Backend
from infra.backends.cell_spec import ProcessStatus, postgres_name
from shardctl.output import format_bytes, format_duration, make_table

_COLOURS = {"running": "green", "stopped": "dim", "starting": "yellow", "stopping": "yellow"}


@dataclass(frozen=True, slots=True)
class StackStatus:
    """What `shardctl status --json` prints."""

    stack: str
    state: str
    """running: every process runs; degraded: some do not; stopped: none does."""
    processes: tuple[ProcessStatus, ...]
    admission_rate: float
    """Orders a second that each cell admits, through all routers; 0: no cap."""


async def read_status(backend: Backend) -> StackStatus:
    processes = await backend.status()
    state = stack_state(tuple(process.state for process in processes))
    return StackStatus(backend.stack, state, processes, backend.spec().admission_rate)


def stack_state(states: tuple[str, ...]) -> str:
    if all(state == "running" for state in states):
        return "running"
    return "stopped" if all(state == "stopped" for state in states) else "degraded"


def status_table(status: StackStatus) -> Table:
    rows = [
        (
            process.name,
            process.kind.value,
            process.cell or "",
            Text(process.state, style=_COLOURS.get(process.state, "bold red")),
            process.pid,
            process.port,
            format_duration(process.uptime_s),
            format_bytes(process.rss_bytes),
            process.detail,
        )
        for process in status.processes
    ]
    total = format_bytes(sum(process.rss_bytes or 0 for process in status.processes))
    columns = ("process", "kind", "cell", "state", "pid>", "port>", "uptime>", "memory>", "")
    title = f"stack {status.stack}: {status.state}, {total} of memory"
    if status.admission_rate:
        title += f"; each cell admits {status.admission_rate:g} orders a second"
    return make_table(columns, rows, title=title)


def env_lines(backend: Backend) -> list[str]:
    """Shell lines for `eval`: addresses, and DSNs of roles that read everything and change nothing."""
    addresses = backend.addresses()
    spec = addresses.spec
    values = {
        "ROUTER_URL": addresses.router_urls[0],
        "CONTROL_DSN": backend.reader_dsn(CONTROL_POSTGRES),
        "REDIS_URL": addresses.redis_url,
        "KAFKA_BOOTSTRAP_SERVERS": addresses.kafka,
        "EXCHANGE_ADDRESS": addresses.exchange,
        "EXCHANGE_OPERATOR_URL": addresses.exchange_operator_url,
    }
    if addresses.prometheus_url is not None:
        values["PROMETHEUS_URL"] = addresses.prometheus_url
    for number, url in enumerate(addresses.router_urls, start=1):
        values[f"ROUTER_{number}_URL"] = url
    for cell in spec.cells:
        prefix = cell.name.upper().replace("-", "_")
        values[f"{prefix}_API_URL"] = addresses.api_urls(cell)[0]
        values[f"{prefix}_OPERATOR_URL"] = addresses.operator_urls(cell)[0]
        values[f"{prefix}_DSN"] = backend.reader_dsn(postgres_name(cell.name))
    return [f"{name}={shlex.quote(value)}" for name, value in values.items()]
