"""`shardctl cells cordon` and `uncordon`: whether a cell takes new users."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from shardctl.cells.cordon import StateChange, cordon_cell, uncordon_cell
from shardctl.output import print_json, print_line
from shardctl.stack.current import open_stack

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CellName = Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")]
Reason = Annotated[str, typer.Option(help="Why; kept with your name in the map's history.")]


def cordon(cell: CellName, reason: Reason, as_json: AsJson = False) -> None:
    """Send no new users to the cell; its present users are not affected."""
    _show_change(asyncio.run(cordon_cell(open_stack(), cell, reason)), "takes no new users", as_json)


def uncordon(cell: CellName, reason: Reason, as_json: AsJson = False) -> None:
    """Send new users to the cell again."""
    _show_change(asyncio.run(uncordon_cell(open_stack(), cell, reason)), "takes new users", as_json)


def _show_change(change: StateChange, words: str, as_json: bool) -> None:
    if as_json:
        print_json(asdict(change))
        return
    since = f"since epoch {change.epoch}" if change.changed else "already; nothing was changed"
    print_line(f"{change.cell} {words} {since}")
    if not change.published:
        print_line("Redis does not answer: routers read it in the control database within seconds")
    if change.cells_open == 0:
        print_line("no cell takes new users now: sign-ups are refused with 503", style="yellow")
