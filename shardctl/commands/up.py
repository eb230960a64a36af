"""`shardctl up`: start the stack, or bring a running one to what is asked."""

import asyncio
import os
from typing import Annotated

import typer

from infra.backends.cell_spec import CellSpec, ProcessKind
from shardctl.commands.submitting import Reason, SubmitOptions, submit
from shardctl.commands.up_plan import show_up_plan
from shardctl.interruption import run_resumable
from shardctl.output import format_bytes, print_json, print_line, print_warning
from shardctl.progress import shown_progress
from shardctl.stack.bring_up import bring_up
from shardctl.stack.current import open_backend
from shardctl.stack.inspect import env_lines, read_status
from shardctl.stack.noted_names import note_names
from shardctl.stack.persons import left_in_the_shell, parse_approvals, parse_oidc
from shardctl.stack.plan import StackOptions
from shardctl.stack.preview import preview_up


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
