"""How commands print: tables for people, JSON for programs, progress and errors on standard error.

Text from outside (reasons, names, error messages) is printed as it is: square brackets in it are never markup.
"""

import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 240
"""Columns. A pipe has no width and rich would take 80, which cuts rows of `status` and `cells list`."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Of a reader who has seen enough, `cli.py` knows; rich would end with 1."""
        raise BrokenPipeError


console = _Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
progress_console = Console(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output; dataclasses, structs, enums and times are encoded by msgspec."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def make_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> Table:
    """A plain table; columns whose name ends in `>` are right-aligned. A cell that is a `Text` keeps its style."""
    table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in columns:
        table.add_column(
            Text(column.removesuffix(">")), justify="right" if column.endswith(">") else "left", no_wrap=True
        )
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    return table


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    console.print(make_table(columns, rows, title=title))


def print_line(message: str, *, style: str = "") -> None:
    """One line, never cut or wrapped by us: a command in it can be copied."""
    console.print(Text(message, style=style), highlight=False, soft_wrap=True)


def print_warning(message: str) -> None:
    """To standard error; the command goes on."""
    progress_console.print(Text.assemble(("warning:", "bold yellow"), f" {message}"), highlight=False, soft_wrap=True)


def print_note(message: str) -> None:
    """To standard error, for who waits."""
    progress_console.print(message, style="dim", markup=False, highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    progress_console.print("[bold red]error:[/]", end=" ")
    progress_console.print(message, markup=False, highlight=False, soft_wrap=True)


def format_bytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1_048_576:,.0f} MB"


def format_duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
