"""`shardctl routers ...`: list, restart."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from infra.backends.backend import Backend
from shardctl.interruption import run_resumable
from shardctl.output import print_json, print_line, print_table
from shardctl.progress import shown_progress
from shardctl.stack.current import open_stack
from shardctl.stack.routers import RouterRow, list_routers, restart_routers

app = typer.Typer(help="Routers: the map that each serves, and a rolling restart.", no_args_is_help=True)


@app.callback()
def routers() -> None:
    """Routers: the map that each serves, and a rolling restart."""


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Every router: ready or not, the epoch of its map, and how old that map is."""
    rows = asyncio.run(list_routers(open_stack()))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("router", "state", "url", "map epoch>", "confirmed s ago>", "since")
    print_table(columns, [_cells(row) for row in rows])


@app.command()
def restart(
    name: Annotated[str | None, typer.Argument(help="One router; by default all, one after the other.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept with your name in `shardctl acts list`.")] = None,
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="Restart even if the control database cannot record it.")
    ] = False,
) -> None:
    """Rolling restart without dropping a request: each router finishes what it has and keeps its listening socket; the
    next follows when it is ready. Stops at the first that does not become ready."""
    with shown_progress("restarting") as report:
        backend: Backend = open_stack(report)
        done = run_resumable(
            restart_routers(backend, name, reason=reason, unrecorded=unrecorded),
            resume=f"shardctl routers restart{f' {name}' if name else ''}",
        )
    print_line(f"restarted: {', '.join(done)}")


def _cells(row: RouterRow) -> tuple[object, ...]:
    return (row.router, row.state, row.url, row.map_epoch, row.map_confirmed_s_ago, row.started_at)
