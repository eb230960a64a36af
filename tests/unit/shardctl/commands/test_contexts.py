"""`shardctl context ...` on a file of its own; no stack is needed and none is touched."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shardctl.cli import make_app
from shardctl.errors import ShardctlError, UsageError


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("CONTEXT", "STACK", "FLAG_CONTEXT", "FLAG_STACK"):
        monkeypatch.delenv(f"SHARDCTL_{name}", raising=False)
    return tmp_path / "cell-brokerage" / "shardctl.toml"


def run(*words: str) -> str:
    done = CliRunner().invoke(make_app(), list(words))
    if isinstance(done.exception, ShardctlError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_context_is_added_used_shown_and_removed(own_file: Path) -> None:
    run("context", "add", "prod", "--url", "https://control.example/", "--issuer", "https://login.example")
    run("context", "add", "mine", "--stack-name", "mine", "--state-dir", "/data")
    assert "prod is the current context" in run("context", "use", "prod")
    rows = {row["name"]: row for row in json.loads(run("context", "list", "--json"))}
    assert [name for name, row in rows.items() if row["current"]] == ["prod"]
    assert rows["prod"]["audience"] == rows["prod"]["url"] == "https://control.example"
    assert rows["checkout"]["stack"] is None
    assert "https://control.example" in run("context", "show")
    assert "/data" in run("context", "show", "mine")
    assert "the service at https://control.example" in run("context", "list")
    assert "checkout is the current context" in run("context", "remove", "prod")
    assert "prod" not in own_file.read_text()


def test_a_nearer_choice_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run("context", "add", "mine", "--stack-name", "mine")
    monkeypatch.setenv("SHARDCTL_STACK", "other")
    assert "SHARDCTL_STACK still says otherwise" in run("context", "use", "mine")
    assert "the stack other: SHARDCTL_STACK" in run("context", "list")


def test_one_that_is_neither_is_refused() -> None:
    for words in ((), ("--url", "https://a.example", "--stack-name", "a")):
        with pytest.raises(UsageError, match="give one"):
            run("context", "add", "x", *words)
    with pytest.raises(UsageError, match="issuer"):
        run("context", "add", "x", "--url", "https://a.example")


@pytest.mark.parametrize(
    "words",
    [("up",), ("down", "--yes"), ("status",), ("keys", "list"), ("doctor",), ("cells", "reconcile", "--all")],
)
def test_what_needs_this_machine_refuses_a_service_elsewhere(words: tuple[str, ...]) -> None:
    run("context", "add", "prod", "--url", "https://control.example", "--issuer", "https://login.example")
    with pytest.raises(UsageError, match=r"works on a stack of this machine.*add --context checkout") as refused:
        run("--context", "prod", *words)
    assert refused.value.exit_code == 2
