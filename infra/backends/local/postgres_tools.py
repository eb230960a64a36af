"""Run PostgreSQL's own tools for backups to their end, however long that takes, and show how far they are.

Each is looked for before anything is begun: one that is missing is named, with what to do. A tool that is interrupted
(Ctrl-C, the command's end) is ended with it; one whose command was killed is found by the mark in its environment.
"""

import asyncio
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.backends.backend import BackendError, JobResult
from infra.backends.local.commands import clean_environment

BASEBACKUP: Final = "pg_basebackup"
RECEIVEWAL: Final = "pg_receivewal"
VERIFYBACKUP: Final = "pg_verifybackup"
COMBINEBACKUP: Final = "pg_combinebackup"
WALDUMP: Final = "pg_waldump"
TOOLS: Final = (BASEBACKUP, RECEIVEWAL, VERIFYBACKUP, COMBINEBACKUP, WALDUMP)
_PERCENT: Final = re.compile(r"\((\d{1,3})%\)")
_OUTPUT_CHARACTERS_MAX: Final = 65_536
"""That are kept, the last ones: a damaged backup of thousands of files says the same thousands of times."""
_PROGRESS_CHARACTERS: Final = 200
"""Of the line that says how far a tool is."""
_STOP_S: Final = 10.0
"""For a tool that was asked to end, before it is killed."""


def require_tools(binaries: Path, names: Sequence[str] = TOOLS) -> None:
    """Raises BackendError that names those that are not in the folder."""
    missing = [name for name in names if not (binaries / name).is_file()]
    if missing:
        raise BackendError(
            f"{', '.join(missing)} is not in {binaries}: backups need the whole PostgreSQL 17 or newer; "
            "point POSTGRES_BIN to the folder of one (Debian: /usr/lib/postgresql/18/bin)"
        )


async def run_tool(
    command: Sequence[str],
    on_percent: Callable[[int], None] | None = None,
    *,
    marks: Mapping[str, str] | None = None,
) -> JobResult:
    """`marks`: variables of its environment by which it is found when this process was killed.

    Exit code and the end of the combined output. Raises BackendError if it cannot be started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**clean_environment(), "LC_ALL": "C", **(marks or {})},
        )
    except OSError as error:
        raise BackendError(f"cannot run {command[0]}: {error.strerror or error}") from error
    try:
        output = await _follow(process, on_percent or (lambda _: None))
        return JobResult(await process.wait(), output)
    finally:
        if process.returncode is None:
            await _end(process)


async def _follow(process: asyncio.subprocess.Process, on_percent: Callable[[int], None]) -> str:
    assert process.stdout is not None
    kept, shown = "", -1
    while chunk := await process.stdout.read(65_536):
        kept = (kept + chunk.decode(errors="replace"))[-_OUTPUT_CHARACTERS_MAX:]
        percents = _PERCENT.findall(kept[-_PROGRESS_CHARACTERS:])
        if percents and int(percents[-1]) != shown:
            shown = int(percents[-1])
            on_percent(shown)
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def plain_output(output: str) -> str:
    """Without the lines that only show progress."""
    lines = output.replace("\r", "\n").splitlines()
    return "\n".join(line for line in lines if line.strip() and not _PERCENT.search(line))
