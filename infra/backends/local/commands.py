"""Run a short command to its end, as another user if asked, with its output caught and a limit on its time."""

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.backends.backend import BackendError, JobResult
from infra.backends.local.accounts import ServerUser

COMMAND_TIMEOUT_S = 120.0
"""Of one command, such as initdb: seconds as a rule, and minutes on a machine that does much else."""


async def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    user: ServerUser | None = None,
    stdin: str = "",
    directory: Path | None = None,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> JobResult:
    """Exit code and combined output. Raises BackendError if the program is missing or does not end in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else clean_environment(),
            cwd=directory,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[user.gid] if user else None,
        )
    except OSError as error:
        raise BackendError(f"cannot run {command[0]}: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise BackendError(f"`{' '.join(command[:4])}` did not end within {timeout_s:.0f} s") from error
    finally:
        if process.returncode is None:  # also when the caller was cancelled: nothing goes on behind its back
            process.kill()
            await process.wait()
    return JobResult(process.returncode or 0, output.decode(errors="replace"))


_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "JAVA_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "SSL_CERT_FILE",
    # which binaries a stack runs: its control service makes cells too
    "KAFKA_HOME",
    "POSTGRES_BIN",
    "POSTGRES_OS_USER",
    "REDIS_SERVER_BIN",
)
_OF_THE_RECORD = ("CONTROL_OIDC", "CONTROL_APPROVALS")
"""Who is let in, and what two persons decide: the stack's record says it, and no shell."""
PASSED_ON_PREFIXES = ("CELL_", "ROUTER_", "EXCHANGE_", "CONTROL_", "FAULT_POINTS")


def clean_environment() -> dict[str, str]:
    """What processes inherit: little, so that a stack does not depend on the shell that started it (PGHOST...).

    Settings of our own processes pass, so that an operator or a test can override one.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if (name in _PASSED_ON or name.startswith(PASSED_ON_PREFIXES)) and not name.startswith(_OF_THE_RECORD)
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"}
