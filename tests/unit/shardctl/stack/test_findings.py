"""Every judgement of `doctor`: what is found, where, the likely cause and the next command; and what is no finding."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.backends.finding import Finding, Verdict
from infra.backends.local.judge import (
    DISK_FREE_MIN_BYTES,
    MEMORY_FREE_MIN_BYTES,
    OPEN_FILES_MIN,
    judge_disk,
    judge_folder,
    judge_memory,
    judge_open_files,
    judge_secrets,
)
from shardctl.cells.directory import CellRow
from shardctl.stack.findings import (
    RECONCILED_AGE_MAX_S,
    judge_clock,
    judge_ledger,
    judge_map,
    judge_process,
    judge_published_map,
    judge_reconciliation,
    judge_settings,
    judge_topics,
)

FOLDER = Path("/stacks/mine")
PGPASS, KEYS = FOLDER / "secrets/pgpass", FOLDER / "keys/route.json"
NOW = datetime(2026, 11, 30, 9, 31, tzinfo=UTC)
API, OPERATOR = ("http://127.0.0.1:1",), ("http://127.0.0.1:2",)
ROW = CellRow("cell-1", "open", 1, 1024, 0, API, OPERATOR)
LISTENING = {"cell-1": (API, OPERATOR)}


def run(verdict: str, age_s: float, found: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"verdict": verdict, "ended_at": (NOW - timedelta(seconds=age_s)).isoformat(), "found": list(found)}


GOOD: list[Finding] = [
    judge_disk(DISK_FREE_MIN_BYTES, FOLDER),
    judge_memory(MEMORY_FREE_MIN_BYTES),
    judge_open_files(OPEN_FILES_MIN),
    judge_open_files(-1),
    judge_folder(FOLDER, writable=True, server_user="postgres"),
    judge_secrets(PGPASS, [PGPASS, KEYS], []),
    judge_clock(0),
    judge_clock(86_400),
    judge_process("router-1", "running", "", ready=True),
    judge_settings([]),
    judge_topics(["a", "b"], {"a", "b", "others"}),
    *judge_map(LISTENING, {"cell-1": ROW}),
    judge_published_map(("x", 7), ("x", 7)),
    judge_reconciliation("cell-1", run("equal", RECONCILED_AGE_MAX_S), NOW),
    judge_ledger("cell-1", [{"name": "entries_balance", "violations": 0}]),
]


@pytest.mark.parametrize("finding", GOOD, ids=lambda finding: f"{finding.check}: {finding.detail}")
def test_what_is_as_it_should_be_is_good_and_asks_for_nothing(finding: Finding) -> None:
    assert (finding.verdict, finding.cause, finding.fix) == (Verdict.GOOD, "", "")


NOT_GOOD: list[tuple[Finding, Verdict, str, str, str]] = [
    (judge_disk(DISK_FREE_MIN_BYTES - 1, FOLDER), Verdict.BAD, "disk", "2.0 GB free at /", "SHARDCTL_STATE_DIR"),
    (judge_memory(MEMORY_FREE_MIN_BYTES - 1), Verdict.WARNING, "memory", "1.0 GB available", "shardctl down"),
    (judge_open_files(OPEN_FILES_MIN - 1), Verdict.BAD, "open files", "the limit is 1023", "ulimit -n 1024"),
    (
        judge_folder(FOLDER, writable=True, server_user="postgres", closed=Path("/stacks")),
        Verdict.BAD, "state folder", "postgres cannot enter /stacks", "chmod o+x /stacks",
    ),
    (judge_folder(FOLDER, writable=False), Verdict.BAD, "state folder", "cannot be written", "SHARDCTL_STATE_DIR="),
    (judge_secrets(PGPASS, [KEYS], []), Verdict.BAD, "secrets", f"{PGPASS} is missing", "shardctl up"),
    (judge_secrets(PGPASS, [PGPASS, KEYS], [KEYS]), Verdict.BAD, "secrets", f"{KEYS}", f"chmod 600 {KEYS}"),
    (judge_process("redis", "stopped", "", ready=False), Verdict.BAD, "redis", "stopped", "shardctl logs redis"),
    (
        judge_process("cell-1-worker", "fatal", "exited too quickly", ready=False),
        Verdict.BAD, "cell-1-worker", "fatal exited too quickly", "shardctl logs cell-1-worker; shardctl up",
    ),
    (
        judge_process("router-1", "running", "", ready=False),
        Verdict.BAD, "router-1", "does not answer as ready", "shardctl logs router-1",
    ),
    (
        judge_settings(["cell-1-api-1", "router-1"]),
        Verdict.WARNING, "settings", "not yet taken by cell-1-api-1, router-1", "shardctl up",
    ),
    (judge_topics(["a", "b", "c"], {"b"}), Verdict.BAD, "topics", "missing: a, c", "shardctl up"),
    (judge_map(LISTENING, {})[0], Verdict.BAD, "shard map", "cell-1 is not in the map", "shardctl up"),
    (
        judge_map(LISTENING, {"cell-1": replace(ROW, operator_urls=API)})[0],
        Verdict.BAD, "shard map", "cell-1 has other addresses", "shardctl up",
    ),
    (judge_published_map(None, ("x", 7)), Verdict.WARNING, "published map", "holds none", "shardctl map publish"),
    (judge_published_map(("x", 6), ("x", 7)), Verdict.BAD, "published map", "epoch 6 in Redis, 7", "map publish"),
    (judge_published_map(("y", 7), ("x", 7)), Verdict.BAD, "published map", "another stack", "map publish"),
    (
        judge_reconciliation("cell-1", None, NOW),
        Verdict.WARNING, "reconciliation of cell-1", "never run", "shardctl cells reconcile cell-1",
    ),
    (
        judge_reconciliation("cell-1", run("different", 90, ("venue", "chain_verifies")), NOW),
        Verdict.BAD, "reconciliation of cell-1", "different 1m 30s ago: venue, chain_verifies",
        "shardctl cells reconciliations cell-1 -n 1 --json",
    ),
    (
        judge_reconciliation("cell-1", run("incomplete", 90), NOW),
        Verdict.WARNING, "reconciliation of cell-1", "incomplete 1m 30s ago", "shardctl cells reconcile cell-1",
    ),
    (
        judge_reconciliation("cell-1", run("equal", RECONCILED_AGE_MAX_S + 1), NOW),
        Verdict.WARNING, "reconciliation of cell-1", "equal 1d 2h ago", "shardctl cells reconcile cell-1",
    ),
    (
        judge_ledger("cell-1", [{"name": "a", "violations": 0}, {"name": "b", "violations": 2}]),
        Verdict.BAD, "ledger of cell-1", "violated: b", "shardctl cells check cell-1 --json",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("finding", "verdict", "where", "what", "command"), NOT_GOOD, ids=[f"{row[2]}: {row[3]}" for row in NOT_GOOD]
)
def test_each_finding_says_what_where_why_and_what_to_do(
    finding: Finding, verdict: Verdict, where: str, what: str, command: str
) -> None:
    assert (finding.verdict, finding.check) == (verdict, where)
    assert what in finding.detail
    assert command in finding.fix
    assert finding.cause


def test_each_cell_with_a_wrong_entry_is_named() -> None:
    listening = {name: (API, OPERATOR) for name in ("cell-1", "cell-2", "cell-3")}
    rows = {"cell-1": ROW, "cell-2": replace(ROW, cell="cell-2", api_urls=OPERATOR)}
    findings = judge_map(listening, rows)
    assert [finding.detail.split()[0] for finding in findings] == ["cell-2", "cell-3"]


def test_a_different_result_is_bad_however_old_it_is() -> None:
    assert judge_reconciliation("cell-1", run("different", 10 * RECONCILED_AGE_MAX_S), NOW).verdict is Verdict.BAD


def test_a_finding_without_a_way_out_cannot_be_made() -> None:
    for verdict in (Verdict.WARNING, Verdict.BAD):
        with pytest.raises(ValueError, match="cause and a command"):
            Finding("disk", verdict, "full", fix="free some space")
        with pytest.raises(ValueError, match="cause and a command"):
            Finding("disk", verdict, "full", cause="it is small")
