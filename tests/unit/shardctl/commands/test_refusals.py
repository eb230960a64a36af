"""Every command without a stack: one line that says how to start one, exit code 3, and nothing is made or changed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shardctl.cli import make_app
from shardctl.commands.tree import Leaf, walk
from shardctl.errors import NotReachable, Refused
from tests.support.command_lines import ARGUMENTS, WITHOUT_A_STACK


@pytest.fixture(autouse=True)
def no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHARDCTL_STACK", "absent")
    return tmp_path


def test_the_list_has_every_command_that_needs_a_stack() -> None:
    assert {leaf.name for leaf in walk() if not leaf.is_hidden} - WITHOUT_A_STACK == set(ARGUMENTS)


@pytest.mark.parametrize("command", ARGUMENTS)
def test_without_a_stack_a_command_says_how_to_start_one(command: str, no_stack: Path) -> None:
    done = CliRunner().invoke(make_app(), [*command.split(), *ARGUMENTS[command]])
    assert isinstance(done.exception, NotReachable), done.exception
    assert done.exception.exit_code == 3
    assert str(done.exception) == "there is no stack absent: start it with `shardctl up`, or name another by --stack"
    assert list(no_stack.iterdir()) == []


@pytest.mark.parametrize("command", [c for c, needed in ARGUMENTS.items() if "--reason" in needed])
def test_an_act_on_a_user_or_a_cell_needs_a_reason(command: str) -> None:
    without = [word for word in ARGUMENTS[command] if word not in ("--reason", "x")]
    done = CliRunner().invoke(make_app(), [*command.split(), *without])
    assert done.exit_code == 2
    assert "--reason" in done.output


@pytest.mark.parametrize("leaf", list(walk()), ids=lambda leaf: leaf.name)
def test_help_says_what_each_command_and_option_does(leaf: Leaf) -> None:
    assert leaf.command.help
    for parameter in leaf.command.params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None), f"{leaf.name} {parameter.opts}"


def test_down_without_a_stack_has_nothing_to_do() -> None:
    done = CliRunner().invoke(make_app(), ["down"])
    assert (done.exit_code, done.exception) == (0, None)


def test_the_doctor_finds_that_there_is_no_stack(no_stack: Path) -> None:
    done = CliRunner().invoke(make_app(), ["doctor", "--json"])
    assert isinstance(done.exception, Refused)
    assert '"there is no stack absent"' in done.output


def test_a_watched_status_is_a_table() -> None:
    done = CliRunner().invoke(make_app(), ["status", "--watch", "--json"])
    assert "table only" in str(done.exception)


def test_one_cell_is_named_or_all_are_and_young_history_stays() -> None:
    for words in (["cells", "reconcile"], ["cells", "reconcile", "cell-1", "--all"], ["backup", "rehearse"]):
        assert "name one cell, or give --all" in str(CliRunner().invoke(make_app(), words).exception)
    young = CliRunner().invoke(make_app(), ["cells", "archive", "--all", "--older-than", "6", "--reason", "x"])
    assert young.exit_code == 2
