"""The protocol that shells speak, with the command as they start it; and how little it imports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shardctl.completion.asking import VARIABLE, asked_shell
from shardctl.completion.names import StackNames, remember_names
from shardctl.completion.shells import answer
from tests.unit.shardctl.test_cli import HEAVY

SCRIPT = Path(sys.executable).with_name("shardctl")
MODULES_MAX = 170
"""Half of them are Python's own start. Typer alone would be four hundred more."""


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    names = StackNames(("cell-1", "cell-2"), ("router-1",), ("router-1",), str(tmp_path / "nobody.sock"))
    remember_names(tmp_path, "mine", names)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SHARDCTL_STACK": "mine",
        "SHARDCTL_STATE_DIR": str(tmp_path),
        "SHARDCTL_BACKEND": "local",
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_bash_completes_with_the_script_that_is_installed(state: dict[str, str]) -> None:
    assert shutil.which("bash"), "no bash"
    shown = run(state, "bash", "-c", f"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 {SCRIPT} --show-completion bash")
    assert "complete_bash" in shown.stdout, shown.stderr
    line = """
        eval "$SCRIPT"
        fill() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _shardctl_completion "$PROGRAM"; }
        fill shardctl cells cor; echo "${COMPREPLY[*]}"
        fill shardctl cells cordon ""; echo "${COMPREPLY[*]}"
        fill shardctl --stack other cells cordon ""; echo "${COMPREPLY[*]}"
        fill shardctl --stack = mine cells cordon ce; echo "${COMPREPLY[*]}"
        fill shardctl "it's"; echo "${COMPREPLY[*]}"
    """
    done = run({**state, "SCRIPT": shown.stdout, "PROGRAM": str(SCRIPT)}, "bash", "--norc", "-c", line)
    assert done.stdout.splitlines() == ["cordon", "cell-1 cell-2", "", "cell-1 cell-2", ""]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("shell", "variables", "printed"),
    [
        ("bash", {"COMP_WORDS": "shardctl --stack =", "COMP_CWORD": "2"}, ""),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "shardctl cells summary "}, '_arguments \'*: :(("cell-1"\n"cell-2"))\''),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "shardctl exchange load-tape "}, "_files"),
        ("fish", {"_TYPER_COMPLETE_ARGS": "shardctl logs ro"}, "router-1"),
    ],
)
def test_other_shells(
    shell: str,
    variables: dict[str, str],
    printed: str,
    state: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**state, **variables}.items():
        monkeypatch.setenv(name, value)
    assert answer(shell) == 0
    assert capsys.readouterr().out == printed


def test_help_is_shown_without_what_a_shell_would_expand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "shardctl operations li")
    assert answer("zsh") == 0
    assert capsys.readouterr().out.startswith('_arguments \'*: :(("list":"The newest operations first\\\\: ')
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "shardctl operations wa")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    assert answer("fish") == 0
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "shardctl nonsense ")
    assert answer("fish") == 1
    assert capsys.readouterr().out == ""


def test_what_goes_wrong_prints_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert answer("bash") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_who_asks() -> None:
    assert asked_shell({VARIABLE: "complete_zsh"}) == "zsh"
    assert asked_shell({}) is None
    assert asked_shell({VARIABLE: "complete_powershell"}) is None, "Typer answers that one"


def test_a_press_of_a_key_imports_little(state: dict[str, str]) -> None:
    variables = {**state, VARIABLE: "complete_bash", "COMP_WORDS": "shardctl cells cordon ce", "COMP_CWORD": "3"}
    done = run(variables, sys.executable, "-X", "importtime", "-m", "shardctl")
    assert done.stdout.split() == ["cell-1", "cell-2"]
    imported = [line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines()[1:]]
    heavy = (
        *(name for name in HEAVY if name != "infra.backends"),
        "typer",
        "rich",
        "asyncio",
        "http.client",
        "msgspec",
    )
    assert not {name.partition(".")[0] for name in imported} & {name for name in heavy if "." not in name}
    assert not set(imported) & set(heavy)
    assert len(imported) < MODULES_MAX, imported
