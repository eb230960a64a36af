"""What a look at this machine means: judgements on facts that `examine.py` has read. Pure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra.backends.finding import Finding, bad, good, warning
from infra.backends.local.prometheus import INSTALL

DISK_FREE_MIN_BYTES: Final = 2 * 1024**3
"""PostgreSQL and Kafka stop when their disk is full; a new stack takes about a quarter of this."""
MEMORY_FREE_MIN_BYTES: Final = 1024**3
"""A further small stack needs about as much; with less the kernel may kill a database."""
OPEN_FILES_MIN: Final = 1024
"""A router holds two sockets per request that it forwards."""


def judge_disk(free_bytes: int, folder: Path) -> Finding:
    detail = f"{free_bytes / 1024**3:.1f} GB free at {folder}"
    if free_bytes < DISK_FREE_MIN_BYTES:
        cause = "the disk of the state folder is nearly full; databases and broker stop when it is"
        return bad("disk", detail, cause=cause, fix="free some space, or set SHARDCTL_STATE_DIR to another disk")
    return good("disk", detail)


def judge_memory(available_bytes: int) -> Finding:
    detail = f"{available_bytes / 1024**3:.1f} GB available"
    if available_bytes < MEMORY_FREE_MIN_BYTES:
        cause = "other programs or other stacks use it; the kernel may kill a process"
        return warning("memory", detail, cause=cause, fix="shardctl down in checkouts that you do not use")
    return good("memory", detail)


def judge_open_files(limit: int) -> Finding:
    """`limit` is negative where there is none."""
    if 0 <= limit < OPEN_FILES_MIN:
        cause = "the shell's limit is inherited by every process; a busy router needs two files per request"
        return bad("open files", f"the limit is {limit}", cause=cause, fix=f"ulimit -n {OPEN_FILES_MIN}")
    return good("open files", f"limit {limit}")


def judge_folder(
    folder: Path, *, writable: bool, server_user: str | None = None, closed: Path | None = None
) -> Finding:
    """`closed` is the first folder on the way to the data that `server_user`, who runs PostgreSQL, cannot enter."""
    if closed is not None:
        cause = f"shardctl runs as root and PostgreSQL must not, so {server_user} runs it"
        return bad("state folder", f"{server_user} cannot enter {closed}", cause=cause, fix=f"chmod o+x {closed}")
    if not writable:
        cause = "it belongs to another user, or its disk is mounted read-only"
        fix = "export SHARDCTL_STATE_DIR=$HOME/.cell-brokerage"
        return bad("state folder", f"{folder} cannot be written", cause=cause, fix=fix)
    return good("state folder", str(folder))


def judge_secrets(pgpass: Path, present: Sequence[Path], readable_by_others: Sequence[Path]) -> Finding:
    """Passwords and keys: present, and readable for their owner only."""
    if pgpass not in present:
        cause = "`shardctl up` did not get far enough to write it, or someone deleted it"
        return bad("secrets", f"{pgpass} is missing", cause=cause, fix="shardctl up")
    if readable_by_others:
        names = " ".join(str(path) for path in readable_by_others)
        cause = "they were copied or restored without their mode; whoever reads a key can act as any customer"
        return bad("secrets", f"readable for others: {names}", cause=cause, fix=f"chmod 600 {names}")
    return good("secrets", f"{len(present)} files, readable for their owner only")


def judge_prometheus(program: Path | None) -> Finding:
    """Of a stack that was asked to be watched."""
    if program is None:
        cause = (
            "the stack was started with --monitoring, and this machine has no Prometheus (or PROMETHEUS_BIN names none)"
        )
        return warning("prometheus", "not found", cause=cause, fix=f"{INSTALL}; then shardctl up")
    return good("prometheus", str(program))
