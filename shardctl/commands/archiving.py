"""`shardctl cells archive`: move old history out of the tables that are written now."""

from typing import Annotated

import typer

from shardctl.cells.archived import OLDER_THAN_DAYS, totals_of
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import Detach, DryRun, Expected, Key, NeededReason, SubmitOptions, Timeout, submit
from shardctl.errors import UsageError
from shardctl.output import print_json, print_line


def archive(
    reason: NeededReason,
    cell: Annotated[str | None, typer.Argument(help="Name of a cell, as cell-1.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every cell, one after the other.")] = False,
    older_than: Annotated[
        int, typer.Option("--older-than", min=7, help="Days since an order ended.", metavar="DAYS")
    ] = OLDER_THAN_DAYS,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Move the history of orders that ended long ago to the archive, by month. Customers see it as before. Exit code 2:
    neither one cell nor --all is named."""
    if every == (cell is not None):
        raise UsageError("name one cell, or give --all")
    ended = submit(
        "cells.archive",
        {"cell": cell, "older_than_days": older_than},
        SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json),
    )
    if ended is None:
        return
    done = [totals_of(step["result"]) for step in ended["steps"]]
    if as_json:
        print_json(done[0] if cell else done)
        return
    for totals in done:
        print_line(
            f"{totals.cell}: {totals.entries} entries, {totals.postings} postings, {totals.events} order events, "
            f"{totals.executions} executions of {totals.users} users; deferred: {totals.deferred}",
        )
