"""A destructive command is confirmed by the name of what it destroys, or not at all."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from shardctl.errors import Blocked, Exit
from shardctl.prompts import confirm_by_name


def terminal(monkeypatch: pytest.MonkeyPatch, *, answers: str | None) -> None:
    """Standard input as a terminal whose user types `answers`, or as no terminal."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: answers is not None, raising=False)
    typed: Callable[..., Any] = lambda *_, **__: answers  # noqa: E731
    monkeypatch.setattr(typer, "prompt", typed)


def aborted(*_: object, **__: object) -> str:
    """Ctrl-C, or the end of input."""
    raise typer.Abort


def test_yes_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch, answers=None)
    confirm_by_name("mine", "remove the stack", yes=True)


def test_without_a_terminal_it_is_refused_with_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch, answers=None)
    with pytest.raises(Blocked, match="this would remove the stack: add --yes"):
        confirm_by_name("mine", "remove the stack", yes=False)


def test_only_the_name_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch, answers=" mine ")
    confirm_by_name("mine", "remove the stack", yes=False)
    for other in ("", "y", "yes", "Mine", "mine2"):
        terminal(monkeypatch, answers=other)
        with pytest.raises(Blocked, match="nothing was done"):
            confirm_by_name("mine", "remove the stack", yes=False)


def test_ctrl_c_at_the_question_is_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch, answers="")
    monkeypatch.setattr(typer, "prompt", aborted)
    with pytest.raises(Blocked, match="nothing was done") as refused:
        confirm_by_name("mine", "remove the stack", yes=False)
    assert refused.value.exit_code is Exit.BLOCKED
