"""What `shardctl doctor` finds: judgements on facts that `doctor.py` has read. Pure.

A finding says where (`check`), what (`detail`) and, unless all is well, the likely cause and the next command. Nothing
here looks at the machine, so every judgement is tested without a stack.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from shardctl.cells.directory import CellRow
from shardctl.output import format_duration

DISK_FREE_MIN_BYTES: Final = 2 * 1024**3
"""PostgreSQL and Kafka stop when their disk is full; a new stack takes about a quarter of this."""
MEMORY_FREE_MIN_BYTES: Final = 1024**3
"""A further small stack needs about as much; with less the kernel may kill a database."""
OPEN_FILES_MIN: Final = 1024
"""A router holds two sockets per request that it forwards."""
RECONCILED_AGE_MAX_S: Final = 26 * 3600
"""It runs every night; two hours more for a night when it starts late or takes long."""


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    """Where: the part of machine or stack."""
    verdict: Verdict
    detail: str
    """What was found."""
    fix: str = ""
    """The next command."""
    cause: str = ""
    """Why it is likely so."""

    def __post_init__(self) -> None:
        if self.verdict is not Verdict.GOOD and not (self.cause and self.fix):
            raise ValueError(f"a finding that is not good names a cause and a command: {self.check}, {self.detail}")


def good(check: str, detail: str) -> Finding:
    return Finding(check, Verdict.GOOD, detail)


def warning(check: str, detail: str, *, cause: str, fix: str) -> Finding:
    return Finding(check, Verdict.WARNING, detail, fix, cause)


def bad(check: str, detail: str, *, cause: str, fix: str) -> Finding:
    return Finding(check, Verdict.BAD, detail, fix, cause)


# ---- machine -----------------------------------------------------------------------------------------------------


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


# ---- stack -------------------------------------------------------------------------------------------------------


def judge_clock(offset_s: float) -> Finding:
    """Never wrong, but everyone who reads times of this stack must know its offset."""
    return good("clock", f"{offset_s:+.0f} s beside the machine's" if offset_s else "the machine's")


def judge_process(name: str, state: str, detail: str, *, ready: bool) -> Finding:
    """`state` and `detail` are the supervisor's; `ready` is the process's own answer."""
    if state != "running":
        cause = "it was stopped" if state == "stopped" else "it ends right after its start; its log has the error"
        return bad(name, f"{state} {detail}".strip(), cause=cause, fix=f"shardctl logs {name}; shardctl up")
    if not ready:
        cause = "it is starting, or waits for a server that it needs (database, Redis, Kafka)"
        return bad(name, "runs, but does not answer as ready", cause=cause, fix=f"shardctl logs {name}")
    return good(name, "ready")


def judge_topics(wanted: Sequence[str], present: Collection[str]) -> Finding:
    if missing := [name for name in wanted if name not in present]:
        cause = "the broker's data was deleted, or `shardctl up` was interrupted before it made them"
        return bad("topics", f"missing: {', '.join(missing)}", cause=cause, fix="shardctl up")
    return good("topics", f"{len(wanted)} present")


Urls = tuple[str, ...]


def judge_map(listening: Mapping[str, tuple[Urls, Urls]], rows: Mapping[str, CellRow]) -> list[Finding]:
    """`listening` are the API and operator URLs of each cell's processes, `rows` what the shard map says."""
    findings = []
    for name, urls in listening.items():
        row = rows.get(name)
        if row is None:
            cause = "`shardctl up` or `cells add` was interrupted; nobody is sent to the cell yet"
            findings.append(bad("shard map", f"{name} is not in the map", cause=cause, fix="shardctl up"))
        elif (row.api_urls, row.operator_urls) != urls:
            cause = "ports changed while the stack was down; routers send requests to nobody"
            detail = f"{name} has other addresses than its processes"
            findings.append(bad("shard map", detail, cause=cause, fix="shardctl up"))
    return findings or [good("shard map", f"{len(rows)} cells, at the addresses where they listen")]


def judge_published_map(published: tuple[object, int] | None, truth: tuple[object, int]) -> Finding:
    """Lineage and epoch in Redis and in the control database. Routers ask Redis first and the control database without
    it, so a missing map is no fault; an older or a foreign one is."""
    check, fix = "published map", "shardctl map publish"
    if published is None:
        cause = "Redis was restarted and keeps nothing on disk; routers read the control database"
        return warning(check, "Redis holds none", cause=cause, fix=fix)
    if published[0] != truth[0]:
        cause = "another stack publishes to this Redis, or the control database was made anew"
        return bad(check, "Redis holds the map of another stack", cause=cause, fix=fix)
    if published[1] != truth[1]:
        cause = "Redis did not answer when the map changed last"
        return bad(check, f"epoch {published[1]} in Redis, {truth[1]} in truth", cause=cause, fix=fix)
    return good(check, f"epoch {published[1]}")


def judge_reconciliation(cell: str, run: Mapping[str, Any] | None, now: datetime) -> Finding:
    """The cell's last run (None: there is none), its age by the stack's clock, and its verdict."""
    check, again = f"reconciliation of {cell}", f"shardctl cells reconcile {cell}"
    if run is None:
        return warning(check, "was never run", cause="the stack is new, or cron does not run it nightly", fix=again)
    age_s = (now - datetime.fromisoformat(run["ended_at"])).total_seconds()
    outcome = f"{run['verdict']} {format_duration(age_s)} ago"
    if run["verdict"] == "different":
        cause = "the books, the venue or Kafka differ; the run names the check and keeps a sample"
        fix = f"shardctl cells reconciliations {cell} -n 1 --json"
        return bad(check, f"{outcome}: {', '.join(run['found'])}", cause=cause, fix=fix)
    if run["verdict"] != "equal":
        return warning(check, outcome, cause="the venue or Kafka did not answer during the run", fix=again)
    if age_s > RECONCILED_AGE_MAX_S:
        return warning(check, outcome, cause="cron does not run it nightly any more", fix=again)
    return good(check, outcome)


def judge_ledger(cell: str, checks: Sequence[Mapping[str, Any]]) -> Finding:
    check = f"ledger of {cell}"
    if broken := [item["name"] for item in checks if item["violations"]]:
        cause = "a fault of the software, a restore, or a change by hand; the rows say which user"
        fix = f"shardctl cells check {cell} --json"
        return bad(check, f"violated: {', '.join(broken)}", cause=cause, fix=fix)
    return good(check, f"{len(checks)} checks are green")
