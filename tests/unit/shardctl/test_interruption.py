"""Ctrl-C: a command that can be resumed names how; one that only shows has ended as it should."""

import asyncio
import subprocess
import sys

import pytest

from shardctl import __main__, cli
from shardctl.commands import version
from shardctl.errors import Interrupted
from shardctl.interruption import run_resumable, shown_until_interrupted
from shardctl.shardmap.errors import StaleEpoch


async def interrupted() -> None:
    raise KeyboardInterrupt


async def answer() -> int:
    await asyncio.sleep(0)
    return 7


def test_an_interrupt_names_the_command_that_resumes() -> None:
    assert run_resumable(answer(), resume="shardctl up") == 7
    with pytest.raises(Interrupted, match="`shardctl up` continues from there") as error:
        run_resumable(interrupted(), resume="shardctl up")
    assert error.value.exit_code == 4


def test_an_interrupt_ends_what_only_shows() -> None:
    with shown_until_interrupted():
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Interrupted("half done"), 4, "error: half done"),
        (KeyboardInterrupt(), 4, "error: interrupted; run the same command again to go on"),
        (StaleEpoch("the map is at epoch 3, not 2"), 1, "error: the map is at epoch 3, not 2"),
    ],
    ids=repr,
)
def test_an_expected_error_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "make_app", lambda: fail)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == code
    assert capsys.readouterr().err.strip() == line


def interrupt() -> str:
    raise KeyboardInterrupt


def test_ctrl_c_in_the_middle_of_any_command_ends_by_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer would end it with 130 and say nothing."""
    monkeypatch.setattr(sys, "argv", ["shardctl", "version"])
    monkeypatch.setattr(version, "about_line", interrupt)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 4
    assert "interrupted; run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["help", "exit-codes"], ["help", "exit-codes", "--json"]])
def test_a_reader_who_has_seen_enough_is_no_failure(words: list[str]) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "shardctl", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    command.stdout.close()
    _, said = command.communicate(timeout=60)
    assert (command.returncode, said) == (0, "")


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["shardctl"])
    monkeypatch.setattr(cli, "make_app", lambda: lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        __main__.main()
