"""Whatever destroys something asks first, and without a terminal ends with 5 and the flag that confirms."""

import ast
import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.backends.local.backend import LocalBackend
from shardctl import commands
from shardctl.cli import make_app
from shardctl.commands.tree import Leaf, walk
from shardctl.errors import Blocked, Exit
from tests.support.control_service import folder_stack

ARGUMENTS: dict[str, list[str]] = {
    "down": ["--delete-data"],
    "backup restore": ["--cell", "cell-1", "--to", "latest", "--reason", "x"],
}
"""What each needs to come to the question."""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """One that was made and does not run."""
    backend = folder_stack(tmp_path)
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(Path(backend.location).parent))
    monkeypatch.setenv("SHARDCTL_STACK", backend.stack)
    return backend


def that_ask() -> list[Leaf]:
    return [leaf for leaf in walk() if "--yes" in leaf.options]


def test_the_list_has_every_command_that_asks() -> None:
    assert {leaf.name for leaf in that_ask()} == set(ARGUMENTS)


def test_nobody_asks_without_a_flag_that_confirms() -> None:
    """Also who is written tomorrow: a function that asks has `yes` among its parameters."""
    asking = set()
    for path in Path(commands.__file__).parent.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                called = {getattr(node.func, "id", "") for node in ast.walk(function) if isinstance(node, ast.Call)}
                if called & {"confirm_by_name", "require_confirmable"}:
                    assert isinstance(function, ast.FunctionDef), f"{function.name}: an event loop takes the Ctrl-C"
                    assert "yes" in {argument.arg for argument in function.args.args}, function.name
                    asking.add(function.name)
    assert asking == {leaf.words[-1] for leaf in that_ask()}


PRESSES_MAX = 60
"""One that comes between Python's last look at signals and its wait for a line is heard with the next: seen on a busy
machine, where the question hung for minutes."""


def take_terminal() -> None:
    """In the child. Ctrl-C is heard also where the suite runs in the background, which hands "ignore it" down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_ctrl_c_on_a_real_terminal_is_no_confirmation(stack: LocalBackend) -> None:
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "shardctl", "down", "--delete-data"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"to confirm" not in shown:
        shown += os.read(ours, 4096)
    with contextlib.suppress(OSError):  # the terminal goes with its last process
        for _ in range(PRESSES_MAX):
            os.write(ours, b"\x03")
            while select.select([ours], [], [], 1.0)[0] and (part := os.read(ours, 4096)):
                shown += part
    assert command.wait(60) == Exit.BLOCKED
    assert "not confirmed; nothing was done" in shown.decode()
    assert Path(stack.location).exists()
    os.close(ours)


@pytest.mark.parametrize("command", ARGUMENTS)
def test_without_a_terminal_it_is_blocked_and_names_the_flag(command: str, stack: LocalBackend) -> None:
    before = sorted(Path(stack.location).rglob("*"))
    done = CliRunner().invoke(make_app(), [*command.split(), *ARGUMENTS[command]])
    assert isinstance(done.exception, Blocked), done.exception
    assert "add --yes" in str(done.exception)
    assert done.exception.exit_code is Exit.BLOCKED
    assert sorted(Path(stack.location).rglob("*")) == before
