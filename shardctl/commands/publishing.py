"""`shardctl map publish`: the map of the control database, in Redis again."""

from typing import Annotated

import typer

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_line


def publish(
    reason: Annotated[str | None, typer.Option(help="Why; kept with your name in `shardctl audit list`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the map of the control database to Redis, for instance after Redis was emptied. Harmless to repeat.

    Routers do not wait for it: without Redis they ask the control database.
    """
    done = open_control().post("/v1/map/publish", {"reason": reason}, is_repeatable=True)
    if as_json:
        print_json(done)
    else:
        print_line(f"epoch {done['epoch']} published")
