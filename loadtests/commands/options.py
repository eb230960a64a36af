"""The options that say which stack is meant, the same for every command."""

from typing import Annotated

import typer

Router = Annotated[
    str | None, typer.Option("--router", help="Address of the router; else ROUTER_URL, else what shardctl says.")
]
Stack = Annotated[str | None, typer.Option("--stack", help="Name of the stack, as for shardctl.")]
