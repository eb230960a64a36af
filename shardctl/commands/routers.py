"""`shardctl routers ...`: list, restart."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from infra.backends.cell_spec import router_names
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import Detach, DryRun, Expected, Key, Reason, SubmitOptions, Timeout, submit
from shardctl.interruption import run_resumable
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack
from shardctl.stack.routers import RouterRow, list_routers


def list_(as_json: AsJson = False) -> None:
    """Every router: ready or not, the epoch of its map, and how old that map is."""
    rows = asyncio.run(list_routers(open_stack()))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("router", "state", "url", "map epoch>", "confirmed s ago>", "since")
    print_table(columns, [_cells(row) for row in rows])


def restart(
    name: Annotated[str | None, typer.Argument(help="One router; by default all, one after the other.")] = None,
    reason: Reason = None,
    as_json: AsJson = False,
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="Restart without the control service, which then records nothing.")
    ] = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Rolling restart without dropping a request: each router finishes what it has and keeps its listening socket; the
    next follows when it is ready. Stops at the first that does not become ready."""
    arguments = {"router": name}
    if unrecorded:
        from shardctl.operations.unrecorded import run_here  # every driver there is, and only for --unrecorded

        run_resumable(
            run_here("routers.restart", arguments), resume=f"shardctl routers restart {name or ''} --unrecorded"
        )
        _say([name] if name else list(router_names(open_stack().spec())), as_json=as_json)
        return
    ended = submit(
        "routers.restart",
        arguments,
        SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json),
    )
    if ended is not None:
        _say([step["arguments"]["router"] for step in ended["steps"]], as_json=as_json)


def _say(routers: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"restarted": routers})
    else:
        print_line(f"restarted: {', '.join(routers)}")


def _cells(row: RouterRow) -> tuple[object, ...]:
    return (row.router, row.state, row.url, row.map_epoch, row.map_confirmed_s_ago, row.started_at)
