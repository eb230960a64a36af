"""`shardctl version`: which release this command is."""

from typing import Annotated

import typer

from shardctl.output import print_json, print_line
from shardctl.release import about, about_line


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """The version of this command, its commit where it is known, and its Python. Also: shardctl --version."""
    if as_json:
        print_json(about())
        return
    print_line(about_line())
