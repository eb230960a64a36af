"""Wait until processes answer as ready, and say which do not, with the end of their log."""

import asyncio
import time
from collections.abc import Sequence

from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.local.folders import StackFolder
from infra.backends.local.probes import http_ready, postgres_answers, redis_answers
from infra.backends.local.supervisor import SupervisorClient
from infra.runtime.kafka_admin import BrokerUnreachable, broker_topics

_PAUSE_S = 0.1
_BROKER_ANSWER_S = 2.0
_CRASHING_AFTER_S = 12.0
"""A process that is still dying this long after its start is not going to be ready: say so before the limit."""
_LOG_LINES = 6
_LOG_BYTES = 8_192


async def is_ready(process: ProcessSpec) -> bool:
    """Ask the process itself."""
    if process.kind is ProcessKind.POSTGRES:
        return await postgres_answers(process.port or 0)
    if process.kind is ProcessKind.REDIS:
        return await redis_answers(process.port or 0)
    if process.kind is ProcessKind.KAFKA:
        return await _broker_answers(process.port or 0)
    return await http_ready(process.operator_port or 0)


async def _broker_answers(port: int) -> bool:
    try:
        await broker_topics(f"127.0.0.1:{port}", _BROKER_ANSWER_S)
    except BrokerUnreachable:
        return False
    return True


async def await_processes(
    processes: Sequence[ProcessSpec],
    supervisor: SupervisorClient,
    folder: StackFolder,
    report: Report,
    timeout_s: float,
) -> None:
    """Return when all are ready. Raises BackendError that names the others, in time or when they keep dying."""
    begun = time.monotonic()
    waiting = {process.name: process for process in processes}
    while True:
        answers = await asyncio.gather(*(is_ready(process) for process in waiting.values()))
        for name, ready in zip(tuple(waiting), answers, strict=True):
            if ready:
                del waiting[name]
                report(Step(name, Phase.READY))
        waited_s = time.monotonic() - begun
        if not waiting:
            return
        crashing = await _crashing(supervisor, tuple(waiting)) if waited_s > min(_CRASHING_AFTER_S, timeout_s) else ()
        if waited_s >= timeout_s or (crashing and len(crashing) == len(waiting)):
            raise BackendError(_explain(tuple(waiting), folder, waited_s))
        await asyncio.sleep(_PAUSE_S)


async def _crashing(supervisor: SupervisorClient, names: tuple[str, ...]) -> tuple[str, ...]:
    seen = await supervisor.processes()
    return tuple(name for name in names if name in seen and seen[name].state in ("backoff", "fatal", "exited"))


def _explain(names: tuple[str, ...], folder: StackFolder, waited_s: float) -> str:
    parts = [f"not ready after {waited_s:.0f} s: {', '.join(names)}"]
    parts += [f"--- {name} (shardctl logs {name})\n{last_log_lines(folder, name)}" for name in names[:4]]
    return "\n".join(parts)


def last_log_lines(folder: StackFolder, name: str, count: int = _LOG_LINES) -> str:
    try:
        with folder.log(name).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log yet)"
    return "\n".join(lines[-count:]) or "(log is empty)"
