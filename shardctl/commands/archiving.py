"""`shardctl cells archive`: move old history out of the tables that are written now."""

import shlex
from typing import Annotated

import typer

from infra.backends.backend import Phase, Step
from shardctl.cells.archive import ArchiveTotals, archive_cell
from shardctl.errors import UsageError
from shardctl.interruption import run_resumable
from shardctl.output import print_json, print_line
from shardctl.progress import shown_progress
from shardctl.stack.current import open_stack

OLDER_THAN_DAYS = 90
"""A quarter: what customers and support still look at stays in the current tables."""

REASON_DEFAULT = "shardctl cells archive, without a reason"
"""Cells record why; a nightly run has nothing to say."""


def archive(
    cell: Annotated[str | None, typer.Argument(help="Name of a cell, as cell-1.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every cell, one after the other.")] = False,
    older_than: Annotated[
        int, typer.Option("--older-than", min=7, help="Days since an order ended.", metavar="DAYS")
    ] = OLDER_THAN_DAYS,
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the cell.")] = REASON_DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Move the history of orders that ended long ago to the archive, by month. Customers see it as before."""
    backend = open_stack()
    if every == (cell is not None):
        raise UsageError("name one cell, or give --all")
    names = [spec.name for spec in backend.spec().cells] if cell is None else [cell]
    done = []
    with shown_progress("archiving", quiet=as_json) as report:

        def show_progress(totals: ArchiveTotals) -> None:
            report(Step(f"{totals.cell}, {totals.entries} entries of {totals.users} users", Phase.START))

        for name in names:
            again = f"shardctl cells archive {cell or '--all'} --older-than {older_than} --reason {shlex.quote(reason)}"
            walk = archive_cell(backend, name, older_than, show_progress, reason=reason)
            done.append(run_resumable(walk, resume=again))
    if as_json:
        print_json(done[0] if cell else done)
        return
    for totals in done:
        print_line(
            f"{totals.cell}: {totals.entries} entries, {totals.postings} postings, {totals.events} order events, "
            f"{totals.executions} executions of {totals.users} users; deferred: {totals.deferred}",
        )


def register(app: typer.Typer) -> None:
    """A verb of `shardctl cells`."""
    app.command()(archive)
