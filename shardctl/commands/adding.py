"""`shardctl cells add`: a further cell joins a running stack."""

import asyncio
from typing import Annotated

import typer

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import Detach, DryRun, Expected, Key, NeededReason, SubmitOptions, Timeout, submit
from shardctl.contexts import OnThisMachine
from shardctl.output import print_json, print_line
from shardctl.settings import read_settings
from shardctl.stack.current import open_stack
from shardctl.stack.noted_names import note_names


def add(
    reason: NeededReason,
    name: Annotated[
        str | None, typer.Argument(help="Name of the new cell; by default the next of cell-1, cell-2, ...")
    ] = None,
    apis: Annotated[int, typer.Option(help="App servers.")] = 1,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Add a cell to the running stack; it takes new users, and no existing user moves. Harmless to repeat by name."""
    ended = submit(
        "cells.add",
        {"cell": name, "apis": apis},
        SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json),
    )
    if ended is None:
        return
    if isinstance(read_settings().target, OnThisMachine):
        asyncio.run(note_names(open_stack()))
    cell = ended["target"]
    epoch = next(step["result"]["epoch"] for step in ended["steps"] if step["action"] == "register")
    if as_json:
        print_json({"cell": cell, "epoch": epoch})
    else:
        print_line(f"{cell} takes new users since epoch {epoch}")
