"""`shardctl cells cordon` and `uncordon`: whether a cell takes new users."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from shardctl.commands.options import AsJson, CellName
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_line

Reason = Annotated[str, typer.Option(help="Why; kept with your name in the map's history.")]


def cordon(cell: CellName, reason: Reason, as_json: AsJson = False) -> None:
    """Send no new users to the cell; its present users are not affected."""
    _show_change(_set_state(cell, "cordon", reason), "takes no new users", as_json)


def uncordon(cell: CellName, reason: Reason, as_json: AsJson = False) -> None:
    """Send new users to the cell again."""
    _show_change(_set_state(cell, "uncordon", reason), "takes new users", as_json)


def _set_state(cell: str, verb: str, reason: str) -> dict[str, Any]:
    """Saying twice what holds already changes nothing."""
    return open_control().post(f"/v1/cells/{quote(cell, safe='')}/{verb}", {"reason": reason}, is_repeatable=True)


def _show_change(change: Mapping[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        print_json(change)
        return
    since = f"since epoch {change['epoch']}" if change["changed"] else "already; nothing was changed"
    print_line(f"{change['cell']} {words} {since}")
    if not change["published"]:
        print_line("Redis does not answer: routers read it in the control database within seconds")
    if change["cells_open"] == 0:
        print_line("no cell takes new users now: sign-ups are refused with 503", style="yellow")
