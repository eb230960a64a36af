"""`shardctl cells list`: the cells of the shard map."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from shardctl.cells.directory import list_cells
from shardctl.output import print_json, print_table
from shardctl.stack.current import open_stack

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_(as_json: AsJson = False) -> None:
    """The cells of the shard map: state, weight, buckets, addresses."""
    rows = asyncio.run(list_cells(open_stack()))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("cell", "state", "weight>", "buckets>", "pinned users>", "api", "operator")
    print_table(
        columns,
        [
            (row.cell, row.state, row.weight, row.buckets, row.pins, _joined(row.api_urls), _joined(row.operator_urls))
            for row in rows
        ],
    )


def _joined(urls: tuple[str, ...]) -> str:
    return " ".join(urls)
