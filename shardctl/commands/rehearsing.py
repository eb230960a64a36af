"""`shardctl backup rehearse`: restore beside the running cell, prove the copy, drop it."""

from typing import Annotated

import typer

from shardctl.commands.moments import moment_of
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import (
    Detach,
    DryRun,
    Expected,
    Key,
    Reason,
    SubmitOptions,
    Timeout,
    conclude,
    submit_and_watch,
)
from shardctl.errors import UsageError
from shardctl.output import print_json, print_line


def rehearse(
    cell: Annotated[str | None, typer.Argument(help="Name of a cell, as cell-1.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every cell, one after the other.")] = False,
    to: Annotated[str, typer.Option(help="As for restore; by default what is committed now.")] = "latest",
    reason: Reason = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Restore beside the running cell, prove and compare the copy, drop it, say how long it took. Exit code 1: it would
    not do."""
    if every == (cell is not None):
        raise UsageError("name one cell, or give --all")
    moment_of(to)
    options = SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json)
    ended = submit_and_watch("backup.rehearse", {"cell": cell, "to": to}, options)
    if ended is None:
        return
    results = [step["result"] for step in ended["steps"] if step["result"]]
    if as_json:
        print_json(next(iter(results), None) if cell else results)
    for result in () if as_json else results:
        print_line(
            f"{result['cell']}: restored from {result['backup']} in {result['seconds']:.1f} s, "
            f"{len(result['checks'])} checks; {result['source']['users']} users, {result['source']['equal']} equal and "
            f"{result['source']['traded_on']} traded on since"
        )
    conclude(ended)
