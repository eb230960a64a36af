"""`shardctl help exit-codes`: how commands end."""

import typer

from shardctl.errors import EXIT_CODES
from shardctl.output import print_table

app = typer.Typer(help="Topics: exit-codes.", no_args_is_help=True)


@app.callback()
def help_() -> None:
    """Topics: exit-codes."""


@app.command("exit-codes")
def exit_codes() -> None:
    """What the exit code of a command means; that of `operations watch` is the operation's."""
    print_table(("code>", "means"), list(EXIT_CODES.items()))
