"""`shardctl transfers list`: shares from other brokers that wait for a decision."""

import asyncio
from typing import Annotated

import typer

from shardctl.commands.options import AsJson
from shardctl.errors import UsageError
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack
from shardctl.waiting_transfers import list_waiting


def list_(
    cell: Annotated[str | None, typer.Argument(help="Name of a cell, as cell-1; by default all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Transfers that wait for a decision, oldest first within each cell."""
    stack = open_stack()
    cells = tuple(known.name for known in stack.spec().cells)
    if cell is not None and cell not in cells:
        raise UsageError(f"there is no cell {cell}; there are: {', '.join(cells)}")
    rows = asyncio.run(list_waiting(stack, cells if cell is None else (cell,)))
    if as_json:
        print_json(rows)
        return
    if not rows:
        print_line("no transfer waits")
        return
    columns = ("cell", "user_id", "transfer_id", "symbol", "qty", "unit_cost", "created_at")
    headings = ("cell", "user", "transfer", "symbol", "qty>", "unit cost>", "since")
    print_table(headings, [tuple(row[column] for column in columns) for row in rows])
