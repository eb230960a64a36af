"""`shardctl backup restore`: put a cell back to a moment."""

import asyncio
from typing import Annotated
from uuid import uuid4

import typer

from shardctl.backups.coverage import format_time
from shardctl.backups.restore import check_moment, restore_cell
from shardctl.commands.moments import moment_of
from shardctl.commands.options import AsJson
from shardctl.interruption import run_resumable
from shardctl.output import print_json, print_line, print_warning
from shardctl.progress import shown_progress
from shardctl.prompts import confirm_by_name, require_confirmable
from shardctl.stack.current import open_stack


def restore(
    cell: Annotated[str, typer.Option(help="The cell, as cell-1.")],
    to: Annotated[
        str, typer.Option(help="A time with its zone, as 2026-01-31T14:30:00Z (the machine's clock); latest.")
    ],
    reason: Annotated[str, typer.Option(help="Why; kept with your name, also in the restored cell.")],
    label: Annotated[str | None, typer.Option("--from", help="A backup; by default the newest that will do.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a cell back to a moment. It starts fenced: it reads, and writes nothing until `shardctl cells unfence`."""
    moment = moment_of(to)
    effect = f"replace the database of {cell} by what it was at {to}"
    stack = open_stack()
    require_confirmable(effect, yes=yes)
    asyncio.run(check_moment(stack, cell, moment, label))
    confirm_by_name(cell, effect, yes=yes)
    with shown_progress(f"restoring {cell}", quiet=as_json) as report:
        restored = run_resumable(
            restore_cell(open_stack(report), cell, moment, label, report, new_id=uuid4(), reason=reason),
            resume=f"shardctl backup restore --cell {cell} --to {to}",
        )
    if as_json:
        print_json(restored)
        return
    newest = restored.newest_commit_at
    print_line(
        f"{cell} is what it was {f'after its commit of {format_time(newest)}' if newest else f'at {to}'}, and fenced"
    )
    for path in restored.kept_aside:
        print_line(f"old data, kept until you remove it: {path}")
    print_line(f"next: shardctl cells reconcile {cell}; shardctl cells unfence {cell} --reason TEXT")
    if restored.covered_from is not None:
        print_line(f"archived again: it can be put back to any moment from {format_time(restored.covered_from)} on")
    else:
        print_warning(f"nothing is archived yet: {restored.trouble}; then: shardctl backup create --cell {cell}")
