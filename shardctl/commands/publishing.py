"""`shardctl map publish`: the map of the control database, in Redis again."""

import asyncio
from typing import Annotated

import typer

from shardctl.output import print_json, print_line
from shardctl.shardmap.republish import republish_map
from shardctl.stack.current import open_stack


def publish(
    reason: Annotated[str | None, typer.Option(help="Why; kept with your name in `shardctl audit list`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the map of the control database to Redis, for instance after Redis was emptied. Harmless to repeat.

    Routers do not wait for it: without Redis they ask the control database.
    """
    epoch = asyncio.run(republish_map(open_stack(), reason))
    if as_json:
        print_json({"epoch": epoch})
    else:
        print_line(f"epoch {epoch} published")
