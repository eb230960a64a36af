"""`shardctl backup create` and `prune`."""

import asyncio
from typing import Annotated

import typer

from shardctl.backups.servers import chosen_servers, subject_of
from shardctl.backups.take import prune_backups, take_backups
from shardctl.commands.backups import backup_document
from shardctl.commands.options import AsJson
from shardctl.interruption import run_resumable
from shardctl.output import format_bytes, print_json, print_line
from shardctl.progress import shown_progress
from shardctl.stack.current import open_stack

Reason = Annotated[str | None, typer.Option(help="Why; kept with your name in `shardctl audit list`.")]


def create(
    cell: Annotated[str | None, typer.Option(help="One cell's database.")] = None,
    control: Annotated[bool, typer.Option("--control", help="The control database.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every database, one after the other.")] = False,
    incremental: Annotated[bool, typer.Option("--incremental", help="Only what changed since the last one.")] = False,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Copy running databases and verify the copies. Their log is archived from the first backup on."""
    servers = chosen_servers(open_stack(), cell, control=control, every=every)
    with shown_progress("backup", quiet=as_json) as report:
        taken = run_resumable(
            take_backups(open_stack(report), servers, report, incremental=incremental, reason=reason),
            resume="shardctl backup create",
        )
    if as_json:
        print_json([backup_document(backup) for backup in taken])
        return
    for backup in taken:
        print_line(f"{backup.label}: {format_bytes(backup.size_bytes)}, {backup.kind.value}, verified")


def prune(
    keep: Annotated[int, typer.Option(min=1, max=1_000, help="Full backups of each database that stay.")],
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Remove all but the newest full backups, what is based on them, and the log that they need."""
    with shown_progress("pruning", quiet=as_json) as report:
        pruned = asyncio.run(prune_backups(open_stack(report), keep, report, reason=reason))
    if as_json:
        print_json(pruned)
        return
    for each in pruned:
        print_line(f"{subject_of(each.server)}: {', '.join(each.labels)} gone, {format_bytes(each.freed_bytes)} free")
    if not pruned:
        print_line("nothing to remove")
