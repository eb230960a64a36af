"""Confirm a destructive command by typing the name of what it destroys. Without a terminal `--yes` is required."""

import sys

import typer

from shardctl.errors import Refused


def confirm_by_name(name: str, effect: str, *, yes: bool) -> None:
    """Return if confirmed; `effect` completes the sentence "This will ...". Raises Refused."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"this would {effect}: add --yes to confirm without a terminal")
    typed = typer.prompt(f"This will {effect}. Type {name} to confirm", default="", show_default=False)
    if typed.strip() != name:
        raise Refused("not confirmed; nothing was done")
