"""Confirm a destructive command by typing the name of what it destroys. Without a terminal `--yes` is required.

What is not confirmed is not begun: Blocked (exit code 5), also for an empty line, the end of input and Ctrl-C.
"""

import sys

import typer

from shardctl.errors import Blocked


def require_confirmable(effect: str, *, yes: bool) -> None:
    """Before any work: is there somebody to ask? `effect` completes "This will ...". Raises Blocked, which names the
    flag that confirms."""
    if not yes and not sys.stdin.isatty():
        raise Blocked(f"this would {effect}: add --yes to confirm without a terminal")


def confirm_by_name(name: str, effect: str, *, yes: bool) -> None:
    """Return if confirmed. Not inside an event loop: it would take the Ctrl-C. Raises Blocked."""
    require_confirmable(effect, yes=yes)
    if yes:
        return
    try:
        typed = typer.prompt(f"This will {effect}. Type {name} to confirm", default="", show_default=False)
    except typer.Abort as error:
        raise Blocked("not confirmed; nothing was done") from error
    if typed.strip() != name:
        raise Blocked("not confirmed; nothing was done")
