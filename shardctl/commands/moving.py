"""`shardctl users move` and `move-back`: ask for the operation, and say who moved, who stayed and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from shardctl.commands.finding import find_user
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import (
    Detach,
    DryRun,
    Expected,
    Key,
    NeededReason,
    SubmitOptions,
    Timeout,
    conclude,
    open_control,
    submit_and_watch,
)
from shardctl.errors import Refused, UsageError
from shardctl.moves.lease import LEASE_MS
from shardctl.operations.kinds.users_moved import NAME, moved_users
from shardctl.output import print_json, print_line, print_table

_FILE_LINES_MAX = 100_000
"""Of the file with names: far more than one operation takes, and no mistake of the disk's size."""


def move(
    to: Annotated[str, typer.Option("--to", metavar="CELL", help="Name of a cell, as cell-1.")],
    reason: NeededReason,
    users: Annotated[
        list[str] | None, typer.Argument(metavar="USER...", help="User ids, or the emails of the sign-ups.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A file with one user per line; # begins a comment.")
    ] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Move users to another cell while they trade; a pause of some milliseconds each. Exit code 1: somebody stayed.

    Whoever stays is named with the reason, and nothing of them is left half done. Until a user is handed over the
    operation can be cancelled; from there on it goes to its end by itself.
    """
    names = [*(users or []), *(_lines(file) if file else [])]
    if not names:
        raise UsageError("name users, or give --file")
    control = open_control()
    ids = list(dict.fromkeys(find_user(control, name)["user_id"] for name in names))
    options = SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json, _previewed)
    ended = submit_and_watch(NAME, {"users": ids, "to": to}, options)
    if ended is not None:
        _show(ended, as_json=as_json)
        conclude(ended)


def move_back(
    number: Annotated[int, typer.Argument(metavar="OPERATION", help="The number of a users.move.", min=1)],
    reason: NeededReason,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Move everybody whom an operation moved back to the cell where they were. Exit code 1: somebody stayed.

    It is a move like any other: with a copy, a proof, a pause and a receipt. Refused if one of them has moved on since.
    """
    found = open_control().get(f"/v1/operations/{number}")
    if found["kind"] != NAME:
        raise Refused(f"operation {number} is {found['kind']}: it moved nobody")
    moved = [user for user in moved_users(found["steps"]) if user["stayed"] is None]
    cells = sorted({user["from"] for user in moved})
    if not moved:
        raise Refused(f"operation {number} has moved nobody: `shardctl operations show {number}`")
    if len(cells) > 1:
        raise Refused(
            f"operation {number} moved users from {', '.join(cells)}: move them back cell by cell, with "
            f"`shardctl users move USER... --to {cells[0]}`"
        )
    options = SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json, _previewed)
    ended = submit_and_watch(NAME, {"users": [user["user_id"] for user in moved], "to": cells[0]}, options)
    if ended is not None:
        _show(ended, as_json=as_json)
        conclude(ended)


def previewed(preview: Mapping[str, Any]) -> list[str]:
    """What a dry run says besides the steps. Pure."""
    waiting = [user for user in preview["users"] if user["unfinished"]]
    lines = [
        "prechecks: the target is open, all cells answer, run one release, agree on the time and are not fenced; "
        "everybody is active, in another cell, and not held",
        f"to copy: {preview['rows']:,} rows, {preview['bytes'] / 1_024:,.0f} kB",
        f"pause of each: {preview['pause_us'] / 1_000:.0f} ms, the median of the last {preview['moves_measured']} moves"
        if preview["moves_measured"]
        else f"pause of each: nothing was measured here yet; a halt ends by itself after {LEASE_MS:,} ms",
    ]
    return lines + [
        f"{user['user_id']} could not leave just now: "
        + ", ".join(f"{number} {what}" for what, number in user["unfinished"].items())
        for user in waiting
    ]


def _previewed(preview: Mapping[str, Any]) -> None:
    for line in previewed(preview):
        print_line(line)


def _show(ended: Mapping[str, Any], *, as_json: bool) -> None:
    number, users = ended["operation_id"], moved_users(ended["steps"])
    if as_json:
        print_json({"operation_id": number, "users": users})
        return
    rows = [
        (user["user_id"], user["from"], user["from"] if user["stayed"] else user["to"], _ms(user), user["stayed"] or "")
        for user in users
    ]
    print_table(("user", "was in", "is in", "pause>", "stayed because"), rows)
    if any(user["stayed"] is None for user in users):
        print_line(
            f"receipts: `shardctl users receipt {number}`; back: `shardctl users move-back {number} --reason WHY`"
        )


def _ms(user: Mapping[str, Any]) -> str:
    return "" if user["pause_us"] is None else f"{user['pause_us'] / 1_000:.1f} ms"


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if len(lines) > _FILE_LINES_MAX:
        raise UsageError(f"{file} has more than {_FILE_LINES_MAX:,} lines")
    return [name for line in lines if (name := line.partition("#")[0].strip())]
