"""`up --dry-run` of a stack that does not run or does not exist: the whole plan, and not a byte is written."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.backends.backend import BackendError, Observation, quiet
from infra.backends.cell_spec import CellSpec, ProcessKind, SpecInvalid, StackSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.previewing import judge_running
from infra.backends.local.supervisor import Supervised
from infra.backends.preview import ProcessChange, Verb
from shardctl.cli import make_app
from shardctl.commands.up_plan import show_up_plan
from shardctl.errors import Refused
from shardctl.stack.bring_up import bring_up
from shardctl.stack.migrations import read_answer
from shardctl.stack.plan import StackOptions
from shardctl.stack.preview import UpPlan, changed_settings, preview_up
from tests.support.control_service import folder_stack


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """One with two routers and one cell that was made and does not run."""
    backend = folder_stack(tmp_path)
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHARDCTL_STACK", backend.stack)
    return backend


def run(*words: str) -> str:
    done = CliRunner().invoke(make_app(), ["up", "--dry-run", *words])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def document(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("--json", *words))
    return found


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_new_stack_is_planned_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHARDCTL_STACK", "absent")
    found = document("--cells", "3")
    assert (found["exists"], found["totals"]["stop"], found["cells_by_operation"]) == (False, 0, [])
    assert {process["verb"] for process in found["processes"]} == {"start"}
    assert "cell-3-worker" in {process["process"] for process in found["processes"]}
    assert found["settings"]["routers"] == {"before": None, "after": 1}
    assert "a new one; nothing is made yet" in run()
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_stack_says_what_changes_and_why(stack: LocalBackend, tmp_path: Path) -> None:
    before = contents(tmp_path)
    found = document("--cells", "2", "--market-hours", "XNYS", "--routers", "1")
    assert contents(tmp_path) == before
    assert found["settings"]["market_hours"] == {"before": "always", "after": "XNYS"}
    assert [cell["name"] for cell in found["settings"]["cells"]["after"]] == ["cell-1", "cell-2"]
    whys = {process["process"]: process["why"] for process in found["processes"]}
    assert whys["cell-1-api-1"] == "the stack does not run"
    assert whys["cell-2-api-1"] == "a new cell, by an operation (cells.add)"
    assert found["cells_by_operation"] == ["cell-2"]
    assert "router-2" not in whys
    assert [(each["database"], each["why"]) for each in found["migrations"]] == [
        ("control-postgres", "unknown until it runs"), ("cell-1-postgres", "unknown until it runs"),
    ]  # fmt: skip
    shown = run("--cells", "2", "--approvals", "keys.rotate,cells.add")
    assert "approvals: none -> cells.add, keys.rotate" in shown
    assert "cells: cell-1 (apis 1) -> cell-1 (apis 1), cell-2 (apis 1)" in shown
    assert f"+{found['totals']['start'] + 1} start" in shown


def test_it_refuses_what_up_refuses(stack: LocalBackend) -> None:
    for options, error in ((StackOptions(cells=0), Refused), (StackOptions(routers=99), SpecInvalid)):
        with pytest.raises(error) as shown:
            asyncio.run(preview_up(stack, options))
        with pytest.raises(error) as done:
            asyncio.run(bring_up(stack, options, quiet, wait=False))
        assert str(shown.value) == str(done.value)


def test_a_back_end_that_cannot_tell_says_so(stack: LocalBackend) -> None:
    with pytest.raises(BackendError, match="does not tell what `up` would do"):
        asyncio.run(Observation.preview(stack, stack.spec()))


def test_settings_that_stay_are_not_told_and_secrets_never_are() -> None:
    spec = StackSpec((CellSpec("cell-1"),), redis_url="redis://:hunter2@example/0")
    assert changed_settings(spec, spec) == {}
    assert changed_settings(None, spec)["redis_url"] == (None, "redis://:***@example/0")


def test_a_plan_is_read_at_a_glance(capsys: pytest.CaptureFixture[str]) -> None:
    changes = (
        ProcessChange("a", ProcessKind.API, None, Verb.RENEW, "X 1 -> 2"),
        ProcessChange("b", ProcessKind.API, None, Verb.LEAVE, "runs as planned"),
        ProcessChange("c", ProcessKind.ROUTER, None, Verb.STOP, "the stack has it no more"),
    )
    found = (
        read_answer("a", 0, 'noise\n{"migrations":["0061_pre_x.sql","0062_post_y.sql"],"has_code":false}\n'),
        read_answer("b", 0, '{"migrations":[],"has_code":true}'),
        read_answer("c", 1, "Traceback\nMigrationError: 0001_pre_x.sql was edited"),
        read_answer("d", 0, ""),
    )
    plan = UpPlan("mine", True, {"routers": (2, 1), "oidc": ({}, {"ISSUER": "https://x"})}, changes, (), found)
    show_up_plan(plan, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["routers:", "2", "->", "1"] in lines
    assert ["oidc:", "none", "->", "ISSUER", "https://x"] in lines
    assert ["~", "a", "renew", "X", "1", "->", "2"] in lines
    assert ["a", "0061_pre_x.sql,", "0062_post_y.sql;", "the", "code", "of", "this", "release"] in lines
    assert ["b", "none"] in lines
    assert ["c", "not", "known:", "MigrationError:", "0001_pre_x.sql", "was", "edited"] in lines
    assert [line[:3] for line in lines if line[:1] == ["d"]] == [["d", "not", "known:"]]
    assert ["b", "leave", "runs", "as", "planned"] in lines
    assert lines[-1][:6] == ["~1", "renew,", "1", "leave,", "-1", "stop;"]


def test_who_does_not_run_says_in_which_state_it_is(stack: LocalBackend) -> None:
    seen = {"x": Supervised("x", "backoff", None, 0, 0, "spawn error")}
    assert judge_running((), seen, frozenset(), {}, stack.folder) == ({}, {"x": "does not run: backoff, spawn error"})
