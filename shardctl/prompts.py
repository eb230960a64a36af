"""Confirm a destructive act by typing the name of what it destroys. Without a terminal, `--yes` must say it."""

import sys

import typer

from shardctl.errors import Refused


def confirm_by_name(name: str, deed: str, *, yes: bool) -> None:
    """Return if confirmed; raises Refused."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"this would {deed}: add --yes to confirm without a terminal")
    typed = typer.prompt(f"This will {deed}. Type {name} to confirm", default="", show_default=False)
    if typed.strip() != name:
        raise Refused("not confirmed; nothing was done")
