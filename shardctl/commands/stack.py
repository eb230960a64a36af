"""`shardctl up`, `down`, `status`, `logs`: the stack as a whole."""

import asyncio
import os
from enum import StrEnum
from typing import Annotated

import typer
from rich.live import Live

from infra.backends.backend import Backend
from infra.backends.cell_spec import CellSpec, ProcessKind
from shardctl.commands.submitting import Reason, SubmitOptions, submit
from shardctl.commands.up_plan import show_up_plan
from shardctl.errors import UsageError
from shardctl.interruption import run_resumable, shown_until_interrupted
from shardctl.output import console, format_bytes, print_json, print_line, print_table, print_warning
from shardctl.progress import shown_progress
from shardctl.prompts import confirm_by_name
from shardctl.stack.bring_up import bring_up
from shardctl.stack.current import forget_backend, open_backend, open_stack
from shardctl.stack.inspect import StackStatus, env_lines, read_status, status_table
from shardctl.stack.noted_names import forget_noted_names, note_names
from shardctl.stack.persons import left_in_the_shell, parse_approvals, parse_oidc
from shardctl.stack.plan import StackOptions
from shardctl.stack.preview import preview_up
from shardctl.stack.stop import stop_stack

_WATCH_PAUSE_S = 1.0
"""Reading memory and states of thirty processes takes some ten milliseconds."""


class StatusFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    ENV = "env"


def up(
    cells: Annotated[
        int | None, typer.Option(help="How many cells (a new stack: 2). Never fewer than there are.")
    ] = None,
    apis: Annotated[int | None, typer.Option(help="App servers per cell (a new stack: 1).")] = None,
    routers: Annotated[int | None, typer.Option(help="Routers (a new stack: 1).")] = None,
    risk_profile: Annotated[str | None, typer.Option(help="Risk profile of new users: retail or professional.")] = None,
    market_hours: Annotated[
        str | None, typer.Option(help="always, or XNYS: orders wait for the open, day orders end at the close.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Settings of a new stack: local, production, or rehearsal (production, but the clock may shift)."
        ),
    ] = None,
    share_transfers: Annotated[
        str | None, typer.Option(help="accept: shares from other brokers post at once; approve: an operator decides.")
    ] = None,
    admission_rate: Annotated[
        float | None,
        typer.Option(help="Orders a second into each cell, through all routers together; the rest is shed. 0: no cap."),
    ] = None,
    clock_offset: Annotated[
        float | None, typer.Option(help="Seconds the stack's clock is ahead; never put back, never in production.")
    ] = None,
    monitoring: Annotated[
        bool | None,
        typer.Option("--monitoring/--no-monitoring", help="A Prometheus that watches the stack (a new stack: none)."),
    ] = None,
    approvals: Annotated[
        str | None,
        typer.Option(help="Kinds of operations that a second person approves, as keys.rotate,cells.add; none: none."),
    ] = None,
    oidc: Annotated[
        str | None,
        typer.Option(help="A TOML file: whom an OpenID issuer knows, and the port where they ask; none: nobody."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when everything answers as ready.")] = True,
    reason: Reason = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done to each process; change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status, or the plan, as JSON.")] = False,
) -> None:
    """Start the stack, or bring a running one to what is asked. Harmless to repeat."""
    options = StackOptions(
        cells,
        apis,
        routers,
        risk_profile,
        market_hours,
        profile,
        share_transfers,
        admission_rate=admission_rate,
        clock_offset_s=clock_offset,
        monitoring=monitoring,
        approvals=parse_approvals(approvals),
        oidc=parse_oidc(oidc),
    )
    if said := left_in_the_shell(os.environ):
        print_warning(said)
    if dry_run:
        show_up_plan(asyncio.run(preview_up(open_backend(), options)), as_json=as_json)
        return
    missing = run_resumable(_up(options, reason, wait=wait, as_json=as_json), resume="shardctl up")
    for cell in missing:
        arguments = {"cell": cell.name, "apis": cell.apis}
        submit("cells.add", arguments, SubmitOptions(reason or f"shardctl up --cells {cells}", as_json=as_json))
    asyncio.run(_show_up(as_json=as_json))


async def _up(options: StackOptions, reason: str | None, *, wait: bool, as_json: bool) -> tuple[CellSpec, ...]:
    with shown_progress("starting", quiet=as_json) as report:
        return await bring_up(open_backend(report), options, report, wait=wait, reason=reason)


async def _show_up(*, as_json: bool) -> None:
    backend = open_backend()
    await note_names(backend)
    status = await read_status(backend)
    if as_json:
        print_json(status)
        return
    used = format_bytes(sum(process.rss_bytes or 0 for process in status.processes))
    print_line(f"stack {status.stack} {status.state}: {len(status.processes)} processes, {used} of memory")
    for line in env_lines(backend)[:1]:
        print_line(line)
    watched = any(process.kind is ProcessKind.PROMETHEUS for process in status.processes)
    if watched:
        print_line(f"PROMETHEUS_URL={backend.addresses().prometheus_url}")
    elif backend.spec().monitoring:
        print_warning("the stack runs unwatched, there is no Prometheus here: `shardctl doctor` says how to get it")


def down(
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Remove everything the stack stored.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Reason = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Stop the stack; its data stays unless --delete-data is given. Also ends what a killed supervisor left behind."""
    backend = open_backend()
    if not backend.exists():
        _say_down(backend, "absent", f"there is no stack {backend.stack}; nothing to stop", as_json=as_json)
        return
    if not delete_data:
        with shown_progress("stopping", quiet=as_json) as report:
            run_resumable(stop_stack(open_backend(report), reason), resume="shardctl down")
        said = f"stack {backend.stack} is stopped; its data is kept in {backend.location}"
        _say_down(backend, "stopped", said, as_json=as_json)
        return
    confirm_by_name(backend.stack, f"remove every byte of the stack {backend.stack}", yes=yes)
    with shown_progress("removing", quiet=as_json) as report:
        run_resumable(_destroy(open_backend(report)), resume="shardctl down --delete-data")
    forget_backend()
    forget_noted_names()
    _say_down(backend, "gone", f"stack {backend.stack} and its data are gone", as_json=as_json)


def _say_down(backend: Backend, state: str, said: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"stack": backend.stack, "state": state, "location": backend.location})
    else:
        print_line(said)


async def _destroy(backend: Backend) -> None:
    async with backend.lock():
        await backend.destroy()


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
