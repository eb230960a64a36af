"""`shardctl keys ...`: list, rotate."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from infra.security.rotation import Rotated, list_keys
from shardctl.interruption import run_resumable
from shardctl.keys import rotate_keys
from shardctl.output import console, print_json, print_table
from shardctl.stack.current import open_stack, stack_clock

app = typer.Typer(help="Signing keys: which there are, and how to change them.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Signing keys: which there are, and how to change them."""


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Every key by ring, id and state; never a secret."""
    folder = open_stack().folder.keys
    rows = [row for ring in Rotated for row in list_keys(folder, ring)]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(("ring", "key", "state", "retired"), [(r.ring, r.kid, r.state, _time(r.retired_at_s)) for r in rows])


@app.command()
def rotate(
    ring: Annotated[Rotated | None, typer.Argument(help="customer, route or operator; by default all three.")] = None,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="A key leaked: old keys are void at once, customers log in again.")
    ] = False,
) -> None:
    """New keys without logging anybody out: add, wait until all have seen it, activate, drop what has expired."""
    wanted = (ring,) if ring is not None else tuple(Rotated)
    stack = open_stack()
    changes = run_resumable(
        rotate_keys(stack, wanted, int(stack_clock(stack).epoch_s()), drop_old=drop_old), resume="shardctl keys rotate"
    )
    for change in changes:
        dropped = f", dropped {', '.join(change.dropped)}" if change.dropped else ""
        console.print(f"{change.ring}: {change.kid} signs now{dropped}", highlight=False)


def _time(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ")
