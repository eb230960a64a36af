"""Wait until processes answer as ready, and say which do not, with the end of their log."""

import asyncio
import json
import time
from collections.abc import Sequence

from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.local.folders import StackFolder
from infra.backends.local.probes import http_get, http_ready, postgres_answers, redis_answers
from infra.backends.local.supervisor import SupervisorClient
from infra.runtime.kafka_admin import BrokerUnreachable, broker_topics

_PAUSE_S = 0.1
"""Between two looks at a process that starts."""
_BROKER_ANSWER_S = 2.0
"""Of the broker, asked once; until it is up a connection is refused at once."""
_CRASHING_AFTER_S = 12.0
"""A process that is still dying this long after its start is not going to be ready: say so before the limit."""
_LOG_LINES = 6
"""Of the log of a process that does not start, shown with the failure."""
_LOG_BYTES = 8_192
"""From the end of that log: more than so many lines have."""


async def is_ready(process: ProcessSpec) -> bool:
    """Ask the process itself."""
    if process.kind is ProcessKind.POSTGRES:
        return await postgres_answers(process.port or 0)
    if process.kind is ProcessKind.REDIS:
        return await redis_answers(process.port or 0)
    if process.kind is ProcessKind.KAFKA:
        return await _broker_answers(process.port or 0)
    if process.kind is ProcessKind.ARCHIVE:
        return True  # nobody waits for it: what it lacks, `backup list` and `doctor` say
    if process.kind is ProcessKind.PROMETHEUS:
        return await http_ready(process.port or 0, "/-/ready")
    return await http_ready(process.operator_port or 0)


async def readiness_facts(process: ProcessSpec) -> dict[str, object]:
    """What a process of ours says about itself, ready or not; nothing if it does not answer."""
    answer = await http_get(process.operator_port or 0, "/health/ready")
    try:
        facts = json.loads(answer[1]) if answer is not None else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


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
    """Return when all are ready.

    Raises BackendError that names the others, at the limit or if all that is left keeps dying.
    """
    begun = time.monotonic()
    waiting = {process.name: asyncio.create_task(_until_ready(process, report)) for process in processes}
    try:
        while waiting:
            await asyncio.wait(waiting.values(), timeout=_PAUSE_S, return_when=asyncio.ALL_COMPLETED)
            for task in [task for task in waiting.values() if task.done()]:
                task.result()
            waiting = {name: task for name, task in waiting.items() if not task.done()}
            waited_s = time.monotonic() - begun
            if waiting and (waited_s >= timeout_s or await _only_dying(supervisor, tuple(waiting), waited_s)):
                raise BackendError(_explain(tuple(waiting), folder, waited_s))
    finally:
        for task in waiting.values():
            task.cancel()


async def _until_ready(process: ProcessSpec, report: Report) -> None:
    """Each process is asked by itself: a slow answer of one delays nobody else's report."""
    while True:
        if await is_ready(process):
            report(Step(process.name, Phase.READY))
            return
        await asyncio.sleep(_PAUSE_S)


async def _only_dying(supervisor: SupervisorClient, names: tuple[str, ...], waited_s: float) -> bool:
    if waited_s < _CRASHING_AFTER_S:
        return False
    return len(await _crashing(supervisor, names)) == len(names)


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
