"""`shardctl status` and `logs`: what runs, and what it wrote."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer
from rich.live import Live

from shardctl.errors import UsageError
from shardctl.interruption import shown_until_interrupted
from shardctl.output import console, format_bytes, print_json, print_table
from shardctl.stack.current import open_stack
from shardctl.stack.inspect import StackStatus, env_lines, read_status, status_table
from shardctl.stack.noted_names import note_names

_WATCH_PAUSE_S = 1.0
"""Reading memory and states of thirty processes takes some ten milliseconds."""


class StatusFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    ENV = "env"


def status(
    output: Annotated[StatusFormat, typer.Option("--output", "-o", help="table, json or env (shell lines).")] = (
        StatusFormat.TABLE
    ),
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until interrupted.")] = False,
) -> None:
    """Every process: state, port, uptime, memory."""
    chosen = StatusFormat.JSON if as_json else output
    if watch and chosen is not StatusFormat.TABLE:
        raise UsageError("--watch shows the table only")
    with shown_until_interrupted():
        asyncio.run(_watch() if watch else _status(chosen))


async def _status(chosen: StatusFormat) -> None:
    backend = open_stack()
    if chosen is StatusFormat.ENV:
        print("\n".join(env_lines(backend)))
        return
    await note_names(backend)
    found = await read_status(backend)
    if chosen is StatusFormat.JSON:
        print_json(found)
    else:
        console.print(status_table(found))


async def _watch() -> None:
    backend = open_stack()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found: StackStatus = await read_status(backend)
            live.update(status_table(found), refresh=True)
            await asyncio.sleep(_WATCH_PAUSE_S)


def logs(
    name: Annotated[
        str | None, typer.Argument(help="A process of `shardctl status`; without a name the logs are listed.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=100_000, help="How many of the last lines.")] = 50,
) -> None:
    """The last lines of a process's log."""
    backend = open_stack()
    if name is None:
        print_table(("log", "size>"), [(log, format_bytes(size)) for log, size in backend.known_logs()])
        return
    for line in backend.last_lines(name, lines):
        print(line)
    with shown_until_interrupted():
        for line in backend.follow_log(name) if follow else ():
            print(line, flush=True)
