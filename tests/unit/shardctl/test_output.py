"""What is printed is what was given: text from outside is never taken for markup, and lines are not cut."""

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from infra.backends.backend import Phase, Step
from shardctl import output, progress
from shardctl.output import format_bytes, format_duration, make_table, print_error, print_json, print_line
from shardctl.progress import shown_progress


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A narrow terminal, for both streams."""
    written = StringIO()
    narrow = Console(file=written, width=40)
    monkeypatch.setattr(output, "console", narrow)
    monkeypatch.setattr(output, "progress_console", narrow)
    monkeypatch.setattr(progress, "progress_console", narrow)
    return written


@pytest.mark.parametrize("text", ["[urgent] slow disk", "[/] closes nothing", "[Errno 111] refused", "[red]x[/red]"])
def test_brackets_in_text_from_outside_are_shown(printed: StringIO, text: str) -> None:
    print_line(text)
    print_error(text)
    output.print_table(("reason", f"{text}>"), [(text, 1)])
    with shown_progress("starting") as report:
        report(Step("redis", Phase.READY, text))
    assert printed.getvalue().count(text) == 5


def test_a_line_with_a_command_is_not_broken(printed: StringIO) -> None:
    command = "run it again: `shardctl users revoke 0b7a --reason 'a reason of some length'`"
    print_line(command)
    print_error(command)
    assert printed.getvalue().splitlines() == [command, f"error: {command}"]


def test_quiet_progress_prints_nothing(printed: StringIO) -> None:
    with shown_progress("starting", quiet=True) as report:
        report(Step("redis", Phase.READY, "x"))
    assert printed.getvalue() == ""


def test_a_table_aligns_numbers_leaves_none_empty_and_keeps_styles() -> None:
    table = make_table(("cell", "users>"), [("cell-1", None), (Text("cell-2", style="green"), 12)], title="cells")
    assert [column.justify for column in table.columns] == ["left", "right"]
    assert [str(cell) for cell in table.columns[1].cells] == ["", "12"]
    styled = list(table.columns[0].cells)[1]
    assert isinstance(styled, Text)
    assert styled.style == "green"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": None, "cells": (1, 2)})
    assert capsys.readouterr().out == '{\n  "at": null,\n  "cells": [\n    1,\n    2\n  ]\n}\n'


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (0, "0s"), (59.9, "59s"), (60, "1m 00s"), (3_661, "1h 01m"), (90_000, "1d 1h")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(None, ""), (0, "0 MB"), (1_048_576 * 1_500, "1,500 MB")])
def test_sizes(count: int | None, shown: str) -> None:
    assert format_bytes(count) == shown
