"""`shardctl acts list`: the record of what operators did to keys, routers, cells and the map."""

import asyncio
from typing import Annotated

import typer

from shardctl.acts.queries import ACTS_MAX, Act, open_act_record
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import control_dsn, open_stack

app = typer.Typer(help="Privileged acts of operators: who did what, when, why, and how it ended.", no_args_is_help=True)


@app.callback()
def acts() -> None:
    """Privileged acts of operators: who did what, when, why, and how it ended."""


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=ACTS_MAX, help="How many of the newest acts.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; it has the errors of acts that failed.")] = False,
) -> None:
    """Acts on the stack, its keys, routers, cells and map, newest first. An outcome of `?`: the command still runs, or
    was killed. Acts on one user are kept in their cell: `shardctl users show USER`."""
    found = asyncio.run(_read(limit))
    if as_json:
        print_json(found)
        return
    if not found:
        print_line("no act is recorded")
        return
    columns = ("id>", "at", "actor", "act", "target", "arguments", "reason", "outcome")
    print_table(columns, [_row(act) for act in found])


async def _read(limit: int) -> list[Act]:
    async with open_act_record(control_dsn(open_stack())) as record:
        return await record.newest(limit)


def _row(act: Act) -> tuple[object, ...]:
    arguments = ", ".join(f"{name} {value}" for name, value in act.arguments.items())
    at = act.begun_at.isoformat(sep=" ", timespec="seconds")
    return (act.act_id, at, act.actor, act.act, act.target, arguments, act.reason, act.outcome or "?")
