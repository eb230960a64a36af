"""`shardctl backup list` and `verify`: the backups that there are."""

import asyncio
from typing import Annotated, Any

import typer

from infra.backends.backups import Backup, format_lsn
from shardctl.backups.coverage import Reach, format_time
from shardctl.backups.known import list_reaches, verify_backups
from shardctl.backups.servers import subject_of
from shardctl.commands.options import AsJson
from shardctl.errors import Refused
from shardctl.output import format_bytes, print_json, print_line, print_table
from shardctl.progress import shown_progress
from shardctl.stack.current import open_stack


def list_(as_json: AsJson = False) -> None:
    """Every backup: what, kind, size, the log that it holds, and the times that it can be restored to."""
    found = asyncio.run(list_reaches(open_stack()))
    if as_json:
        print_json([_reach_document(reach) for reach in found])
        return
    columns = ("backup", "of", "kind", "size>", "log", "earliest", "latest", "verified")
    print_table(columns, [_row(reach) for reach in found])
    for text in dict.fromkeys(_remark(reach) for reach in found):
        if text:
            print_line(text, style="yellow")


def verify(
    label: Annotated[str | None, typer.Argument(help="A backup; without one, all.")] = None, as_json: AsJson = False
) -> None:
    """Compare every file of a backup with its checksum. Exit code 1: one differs or is missing."""
    with shown_progress("verifying", quiet=as_json) as report:
        verified = asyncio.run(verify_backups(open_stack(report), label, report))
    if not verified:
        raise Refused(f"there is no backup {label}: `shardctl backup list`" if label else "there are no backups")
    if as_json:
        print_json([backup_document(backup) for backup in verified])
    else:
        print_table(("backup", "verified"), [(backup.label, backup.verified_at) for backup in verified])


def _row(reach: Reach) -> tuple[object, ...]:
    backup = reach.backup
    return (
        backup.label,
        subject_of(backup.server),
        backup.kind.value,
        format_bytes(backup.size_bytes),
        f"{format_lsn(backup.start_lsn)} .. {format_lsn(backup.end_lsn)}",
        format_time(reach.earliest),
        format_time(reach.latest) + (" ..." if reach.is_open and not reach.trouble else "") if reach.latest else "",
        backup.verified_at and format_time(backup.verified_at),
    )


def _remark(reach: Reach) -> str:
    subject = subject_of(reach.backup.server)
    if reach.missing:
        return f"{subject}: {reach.missing} is missing in the archived log: later times are not covered"
    return f"{subject}: {reach.trouble}" if reach.trouble else ""


def backup_document(backup: Backup) -> dict[str, Any]:
    """One backup, for `--json`."""
    return {
        "label": backup.label,
        "of": subject_of(backup.server),
        "kind": backup.kind,
        "based_on": backup.based_on,
        "size_bytes": backup.size_bytes,
        "wal": {"timeline": backup.timeline, "start": format_lsn(backup.start_lsn), "end": format_lsn(backup.end_lsn)},
        "started_at": backup.started_at,
        "ended_at": backup.ended_at,
        "verified_at": backup.verified_at,
        "server_version": backup.server_version,
        "reason": backup.reason,
    }


def _reach_document(reach: Reach) -> dict[str, Any]:
    return {
        **backup_document(reach.backup),
        "earliest": reach.earliest,
        "latest": reach.latest,
        "is_open": reach.is_open,
        "missing": reach.missing,
        "trouble": reach.trouble,
    }
