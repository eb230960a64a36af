"""`shardctl keys ...`: list, check, rotate."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from infra.security.rotation import Rotated, list_keys
from shardctl.errors import Refused
from shardctl.interruption import run_resumable
from shardctl.keys import KeyHolder, ask_holders, rotate_keys
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack, stack_clock

app = typer.Typer(help="Signing keys: list, check who holds them, rotate.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Signing keys: list, check who holds them, rotate."""


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Every key by ring, id and state; secrets are never shown."""
    folder = open_stack().keys_folder
    rows = [row for ring in Rotated for row in list_keys(folder, ring)]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(("ring", "key", "state", "retired"), [(r.ring, r.kid, r.state, _time(r.retired_at_s)) for r in rows])


@app.command()
def check(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Ask every process which keys it holds; exit code 1 unless each holds those of the files and no others."""
    holders = asyncio.run(ask_holders(open_stack()))
    if as_json:
        print_json([asdict(holder) for holder in holders])
    else:
        print_table(("process", "keys"), [(holder.process, holder.detail) for holder in holders])
    _refuse_others(holders)


@app.command()
def rotate(
    ring: Annotated[Rotated | None, typer.Argument(help="customer, route or operator; by default all three.")] = None,
    drop_old: Annotated[
        bool,
        typer.Option(
            "--drop-old",
            help="A key leaked: old keys are void at once (certain if this ends with 0). Customers must log in again.",
        ),
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; kept with your name in `shardctl acts list`.")] = None,
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="Rotate even if the control database cannot record it.")
    ] = False,
) -> None:
    """New signing keys; nobody is logged out. Old keys stay valid until what they signed has expired (--drop-old: not).

    Then every process is asked which keys it holds. Exit code 1 names those that may still accept a dropped key.
    """
    wanted = (ring,) if ring is not None else tuple(Rotated)
    stack = open_stack()
    rotation = run_resumable(
        rotate_keys(
            stack,
            wanted,
            int(stack_clock(stack).epoch_s()),
            drop_old=drop_old,
            reason=reason,
            unrecorded=unrecorded,
        ),
        resume=f"shardctl keys rotate{f' {ring}' if ring else ''}{' --drop-old' if drop_old else ''}",
    )
    for change in rotation.changes:
        dropped = f", dropped {', '.join(change.dropped)}" if change.dropped else ""
        print_line(f"{change.ring}: {change.kid} signs now{dropped}")
    _refuse_others(rotation.holders)
    print_line(f"{len(rotation.holders)} processes asked: each holds these keys and no others")


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
