"""`shardctl config show`: every setting with its value and origin."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.backends.local.previewing import given_settings
from shardctl.cli import make_app
from shardctl.errors import Refused
from tests.support.control_service import folder_stack


@pytest.fixture(autouse=True)
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that was made and does not run."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("SHARDCTL_STACK", raising=False)
    folder_stack(tmp_path)
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(make_app(), list(words))
    if isinstance(done.exception, Refused):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def rows(*words: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(run(*words, "--json"))["settings"]}


def test_the_commands_own_settings(stack: Path) -> None:
    found = rows("--stack", "mine", "config", "show")
    assert (found["stack"]["value"], found["stack"]["origin"]) == ("mine", "--stack")
    assert (found["state_dir"]["value"], found["state_dir"]["origin"]) == (str(stack), "SHARDCTL_STATE_DIR")
    assert found["backend"]["origin"] == "default"
    assert "SHARDCTL_STATE_DIR" not in run("config", "show")
    shown = run("config", "show", "--origin")
    assert "SHARDCTL_STATE_DIR" in shown
    assert str(stack / "config" / "cell-brokerage" / "shardctl.toml") in shown


def test_servers_that_somebody_else_runs_are_told_without_their_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@redis.example/0")
    found = rows("config", "show")
    assert found["REDIS_URL"]["value"] == "redis://:***@redis.example/0"
    assert found["REDIS_URL"]["origin"] == "REDIS_URL, for a new stack"


def test_a_service_elsewhere() -> None:
    run("context", "add", "prod", "--url", "https://control.example", "--issuer", "https://login.example")
    found = rows("--context", "prod", "config", "show")
    assert found["context"]["origin"] == "--context"
    assert found["audience"]["value"] == "https://control.example"
    assert found["url"]["origin"].endswith("shardctl.toml:1")


def test_the_settings_of_a_process() -> None:
    found = rows("--stack", "mine", "config", "show", "cell-1-worker")
    assert found["CELL_NAME"]["value"] == "cell-1"
    assert found["CELL_NEW_USER_PROFILE"]["origin"] == "default of the profile local"
    shown = run("--stack", "mine", "config", "show", "router-1", "--origin")
    assert "profile local" in shown
    with pytest.raises(Refused, match="there is no process x; there are: control-postgres, "):
        run("--stack", "mine", "config", "show", "x")
    with pytest.raises(Refused, match="others wrote"):
        run("--stack", "mine", "config", "show", "redis")


def test_a_running_process_tells_our_settings_and_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one: its environment as it was when it started, which nobody can change later."""
    found = given_settings(os.getpid())
    assert found is not None
    assert all(
        name.partition("_")[0] in {"CELL", "ROUTER", "EXCHANGE", "CONTROL", "SHARDCTL", "FAULT"} for name in found
    )
    assert given_settings(2**22 + 1) is None
