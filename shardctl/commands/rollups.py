"""`shardctl cells rollups`: what a cell did per minute, and its busiest symbols."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from shardctl.cell_admin import open_cell_admin
from shardctl.commands.options import AsJson, CellName
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack

Minutes = Annotated[int, typer.Option(min=1, max=1_440, help="So many minutes, the one under way included.")]
Until = Annotated[str, typer.Option(help="The last minute, as 2026-11-30T14:30:00Z; by default the one under way.")]


def rollups(cell: CellName, minutes: Minutes = 15, until: Until = "", as_json: AsJson = False) -> None:
    """Orders, fills, rejects, volume and cash per minute, newest first, and the busiest symbols of that time.

    Counted by the relay when it publishes an event, by the minute in which the event happened: while the relay is
    behind, the newest minutes are not complete, and the command says so.
    """
    found = asyncio.run(_read(cell, minutes, until))
    if as_json:
        print_json(found)
        return
    _print(found["minutes"], ("minute", "orders", "fills", "rejects", "taken_back", "volume", "cash_in", "cash_out"))
    if found["symbols"]:
        print_line("")
        _print(found["symbols"], ("symbol", "orders", "fills", "rejects", "taken_back", "qty", "volume"))
    if found["pending_since"] is not None:
        print_line(f"events since {found['pending_since']} are not published, and so not counted yet", style="yellow")


def _print(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """The first column names the row, the others are figures."""
    columns = [name.replace("_", " ") + (">" if name != names[0] else "") for name in names]
    print_table(columns, [[row[name] for name in names] for row in rows])


async def _read(cell: str, minutes: int, until: str) -> dict[str, Any]:
    query = f"?minutes={minutes}" + (f"&until={quote(until)}" if until else "")
    async with open_cell_admin(open_stack()) as admin:
        return await admin.call(cell, "GET", f"/operator/v1/rollups{query}")
