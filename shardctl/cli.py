"""The command's shape: verbs of the stack at the top, nouns below. Mounts, and nothing else."""

import os
from typing import Annotated

import typer

from shardctl.commands import cells, doctor, events, exchange, keys, routers, shardmap, stack, users

_NOUNS = {
    "cells": cells.app,
    "routers": routers.app,
    "keys": keys.app,
    "map": shardmap.app,
    "users": users.app,
    "exchange": exchange.app,
    "events": events.app,
}


def make_app() -> typer.Typer:
    app = typer.Typer(
        name="shardctl",
        help="Run and operate a cell-based brokerage.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def select(
        stack_name: Annotated[
            str | None,
            typer.Option("--stack", help="Which stack; by default that of this checkout.", envvar="SHARDCTL_STACK"),
        ] = None,
    ) -> None:
        """Run and operate a cell-based brokerage."""
        if stack_name:
            # Settings are read from the environment; the flag is the same setting.
            os.environ["SHARDCTL_STACK"] = stack_name

    stack.register(app)
    doctor.register(app)
    for noun, mounted in _NOUNS.items():
        app.add_typer(mounted, name=noun)
    return app
