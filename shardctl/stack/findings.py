"""What `shardctl doctor` finds of a stack: judgements on facts that `doctor.py` has read. Pure.

Nothing here asks anybody, so every judgement is tested without a stack.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from infra.backends.finding import Finding, bad, good, warning
from shardctl.cells.directory import CellRow
from shardctl.output import format_duration

RECONCILED_AGE_MAX_S: Final = 26 * 3600
"""It runs every night; two hours more for a night when it starts late or takes long."""


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


def judge_settings(outdated: Sequence[str]) -> Finding:
    """`outdated` run otherwise than the stack's record says."""
    if outdated:
        cause = "`shardctl up` was interrupted, or a process did not become ready with other settings"
        return warning("settings", f"not yet taken by {', '.join(outdated)}", cause=cause, fix="shardctl up")
    return good("settings", "every process runs as the stack's record says")


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
