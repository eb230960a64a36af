"""`shardctl keys list`, `check` and `rotate`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from infra.backends.plan import own_keys
from infra.security.rotation import SHARED, Rotated, list_keys
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import Detach, DryRun, Expected, Key, NeededReason, SubmitOptions, Timeout, submit
from shardctl.errors import Refused
from shardctl.interruption import run_resumable
from shardctl.keys import KeyHolder, ask_holders
from shardctl.operations.kinds.keys_rotated import changes_of
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack


def list_(as_json: AsJson = False) -> None:
    """Every key by ring, id and state; secrets are never shown."""
    stack = open_stack()
    rows = [row for ring in SHARED for row in list_keys(stack.keys_folder, ring)]
    for cell in stack.spec().cells:
        own = list_keys(own_keys(stack.keys_folder, cell.name), Rotated.CELL)
        rows += [replace(row, ring=cell.name) for row in own]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(("ring", "key", "state", "retired"), [(r.ring, r.kid, r.state, _time(r.retired_at_s)) for r in rows])


def check(as_json: AsJson = False) -> None:
    """Ask every process which keys it holds; exit code 1 unless each holds those of the files and no others."""
    holders = asyncio.run(ask_holders(open_stack()))
    if as_json:
        print_json([asdict(holder) for holder in holders])
    else:
        print_table(("process", "keys"), [(holder.process, holder.detail) for holder in holders])
    _refuse_others(holders)


def rotate(
    reason: NeededReason,
    ring: Annotated[
        Rotated | None,
        typer.Argument(help="customer, route, operator (by default these three), or cell: each cell's own."),
    ] = None,
    drop_old: Annotated[
        bool,
        typer.Option(
            "--drop-old",
            help="A key leaked: old keys are void at once (certain if this ends with 0). Customers must log in again.",
        ),
    ] = False,
    as_json: AsJson = False,
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="Rotate without the control service, which then records nothing.")
    ] = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """New signing keys; nobody is logged out. Old keys stay valid until what they signed has expired (--drop-old: not);
    those of cells, whose certificates do not expire, for ever.

    Then every process is asked which keys it holds. Exit code 1 names those that may still accept a dropped key.
    """
    arguments = {"rings": [str(ring)] if ring else None, "drop_old": drop_old}
    if unrecorded:
        flags = f"{f' {ring}' if ring else ''}{' --drop-old' if drop_old else ''} --unrecorded"
        from shardctl.operations.unrecorded import run_here  # every driver there is, and only for --unrecorded

        results = run_resumable(run_here("keys.rotate", arguments), resume=f"shardctl keys rotate{flags}")
    else:
        ended = submit(
            "keys.rotate",
            arguments,
            SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json),
        )
        if ended is None:
            return
        results = {step["key"]: step["result"] for step in ended["steps"]}
    changes = changes_of(results)
    if as_json:
        print_json([{"ring": changed, "key": kid, "dropped": dropped} for changed, kid, dropped in changes])
        return
    for changed, kid, dropped in changes:
        print_line(f"{changed}: {kid} signs now{', dropped ' + ', '.join(dropped) if dropped else ''}")
    if ring is Rotated.CELL:
        print_line("the map and all cells were told before they signed; what the old keys signed stays valid")
    else:
        print_line("every process was asked: each holds these keys and no others")


def _refuse_others(holders: Sequence[KeyHolder]) -> None:
    others = [holder for holder in holders if not holder.is_current]
    if others:
        named = "; ".join(f"{holder.process}: {holder.detail}" for holder in others)
        raise Refused(
            f"{named}. The key files are right, and a process reads them when it starts: end the named processes "
            "(pid in `shardctl status`; kill -9 PID, the supervisor starts them again), then `shardctl keys check`"
        )


def _time(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ")
