"""`shardctl users locate`: which cell serves a user."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from shardctl.output import print_json, print_table
from shardctl.shardmap.locate import locate_user
from shardctl.stack.current import open_stack

UserName = Annotated[str, typer.Argument(metavar="USER", help="A user id, or the email of the sign-up.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def locate(user: UserName, as_json: AsJson = False) -> None:
    """The cell that serves a user, by the shard map."""
    found = asyncio.run(locate_user(open_stack(), user))
    if as_json:
        print_json(asdict(found))
        return
    print_table(("", ""), list(asdict(found).items()))
