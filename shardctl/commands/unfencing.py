"""`shardctl cells unfence`: a restored cell takes writes again."""

import asyncio
from typing import Annotated

import typer

from shardctl.backups.unfence import open_restored_cell
from shardctl.commands.options import AsJson
from shardctl.output import print_json, print_line
from shardctl.progress import shown_progress
from shardctl.stack.current import open_stack

_HALTED_SHOWN = 20
"""Lines; `shardctl cells unfence --json` has all of them."""


def unfence(
    cell: Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")],
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the cell.")],
    despite_findings: Annotated[
        bool, typer.Option("--despite-findings", help="Open it although the reconciliation found differences.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open a restored cell after reconciling it. Users of whom Kafka or the venue knows more stay read-only."""
    with shown_progress("reconciling", quiet=as_json):
        opened = asyncio.run(open_restored_cell(open_stack(), cell, reason=reason, despite_findings=despite_findings))
    if as_json:
        print_json(opened)
        return
    print_line(f"{cell} is open (reconciliation {opened.run_id}: {opened.verdict})")
    if opened.halted:
        print_line(f"{len(opened.halted)} users stay read-only, because others know more of them than the cell:")
        for user in opened.halted[:_HALTED_SHOWN]:
            print_line(f"  {user}")
    print_line("clients that lost an answer may retry: what they find unknown was never seen by anybody else")
