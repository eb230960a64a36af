"""`shardctl backup restore` and `rehearse`, `shardctl cells unfence`."""

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import uuid4

import typer

from shardctl.backups.coverage import format_time, parse_moment
from shardctl.backups.restore import check_moment, restore_cell
from shardctl.backups.unfence import open_restored_cell
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
from shardctl.interruption import run_resumable
from shardctl.output import print_json, print_line, print_warning
from shardctl.progress import shown_progress
from shardctl.prompts import confirm_by_name, require_confirmable
from shardctl.stack.current import open_stack

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_HALTED_SHOWN = 20
"""Lines; `shardctl cells unfence --json` has all of them."""


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
    moment = _moment(to)
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
    _moment(to)
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


def _moment(text: str) -> datetime | None:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise UsageError(f"--to {text!r}: a time with its zone, as 2026-01-31T14:30:00Z, or latest") from error


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


def register(backup: typer.Typer) -> None:
    """Verbs of `shardctl backup`."""
    backup.command()(restore)
    backup.command()(rehearse)


def register_cells(cells: typer.Typer) -> None:
    """A verb of `shardctl cells`."""
    cells.command()(unfence)
