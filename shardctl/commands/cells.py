"""`shardctl cells ...`: list, add, cordon, uncordon, summary, check, quarantine; longer commands have their own
files."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from infra.security.roles import Role
from shardctl.cell_admin import open_cell_admin
from shardctl.commands import archiving, reconciliation, restored_users, restoring, retrying, rollups
from shardctl.commands.submitting import (
    Detach,
    DryRun,
    Expected,
    Key,
    NeededReason,
    SubmitOptions,
    Timeout,
    open_control,
    submit,
)
from shardctl.contexts import OnThisMachine
from shardctl.errors import Refused
from shardctl.operator_tokens import LOOK, Purpose
from shardctl.output import print_json, print_line, print_table
from shardctl.settings import read_settings
from shardctl.stack.current import open_stack
from shardctl.stack.noted_names import note_names

app = typer.Typer(help="Cells: list, add, cordon, inspect, reconcile, archive.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CellName = Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")]
Reason = Annotated[str, typer.Option(help="Why; kept with your name in the map's history.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The cells of the shard map: state, weight, buckets, addresses."""
    rows = open_control().get("/v1/map")["cells"]
    if as_json:
        print_json(rows)
        return
    names = ("cell", "state", "weight", "buckets", "pins")
    print_table(
        ("cell", "state", "weight>", "buckets>", "pinned users>", "api", "operator"),
        [(*(row[name] for name in names), " ".join(row["api_urls"]), " ".join(row["operator_urls"])) for row in rows],
    )


@app.command()
def add(
    reason: NeededReason,
    name: Annotated[
        str | None, typer.Argument(help="Name of the new cell; by default the next of cell-1, cell-2, ...")
    ] = None,
    apis: Annotated[int, typer.Option(help="App servers.")] = 1,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Add a cell to the running stack; it takes new users, and no existing user moves. Harmless to repeat by name."""
    ended = submit(
        "cells.add",
        {"cell": name, "apis": apis},
        SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json),
    )
    if ended is None:
        return
    if isinstance(read_settings().target, OnThisMachine):
        asyncio.run(note_names(open_stack()))
    cell = ended["target"]
    epoch = next(step["result"]["epoch"] for step in ended["steps"] if step["action"] == "register")
    if as_json:
        print_json({"cell": cell, "epoch": epoch})
    else:
        print_line(f"{cell} takes new users since epoch {epoch}")


@app.command()
def cordon(cell: CellName, reason: Reason, as_json: AsJson = False) -> None:
    """Send no new users to the cell; its present users are not affected."""
    _show_change(_set_state(cell, "cordon", reason), "takes no new users", as_json)


@app.command()
def uncordon(cell: CellName, reason: Reason, as_json: AsJson = False) -> None:
    """Send new users to the cell again."""
    _show_change(_set_state(cell, "uncordon", reason), "takes new users", as_json)


@app.command()
def summary(cell: CellName, as_json: AsJson = False) -> None:
    """Users, orders by state, executions, cash and shares of one cell."""
    found = asyncio.run(_ask(cell, checks=False))
    if as_json:
        print_json(found)
        return
    print_table(("", ""), [(name, _flat(value)) for name, value in found.items()])


@app.command()
def check(cell: CellName, as_json: AsJson = False) -> None:
    """Run every ledger check of one cell; exit code 1 if one finds something."""
    found = asyncio.run(_ask(cell, checks=True))
    if as_json:
        print_json(found)
    else:
        rows = [(item["name"], item["violations"], f"{item['duration_ms']:.0f} ms") for item in found["checks"]]
        print_table(("check", "violations>", "took>"), rows)
    if not found["healthy"]:
        raise Refused(f"{cell}: a ledger check found something: `shardctl cells check {cell} --json` shows the rows")


@app.command()
def quarantine(cell: CellName, as_json: AsJson = False) -> None:
    """Execution reports that are not applied, with the reason, oldest first.

    With an id: quarantined, an operator must act (`cells retry-report`). With a time: the report waits until then for
    the execution that it takes back, or for room in its order, and is applied without you.
    """
    found = asyncio.run(_not_applied(cell))
    if as_json:
        print_json(found)
        return
    if not found:
        print_line(f"{cell}: no report is in quarantine and none waits")
        return
    rows = [
        (
            "" if row["waits_until"] else row["id"],
            row["at"],
            row["reason"],
            row["waits_until"] or "(operator)",
            row["order_id"] or "",
            row["venue_seq"],
        )
        for row in found
    ]
    print_table(("id>", "at", "reason", "waits until", "order", "venue seq>"), rows)


reconciliation.register(app)
archiving.register(app)
retrying.register(app)
restoring.register_cells(app)
restored_users.register(app)
rollups.register(app)


def _set_state(cell: str, verb: str, reason: str) -> dict[str, Any]:
    """Saying twice what holds already changes nothing."""
    return open_control().post(f"/v1/cells/{quote(cell, safe='')}/{verb}", {"reason": reason}, is_repeatable=True)


def _show_change(change: Mapping[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        print_json(change)
        return
    since = f"since epoch {change['epoch']}" if change["changed"] else "already; nothing was changed"
    print_line(f"{change['cell']} {words} {since}")
    if not change["published"]:
        print_line("Redis does not answer: routers read it in the control database within seconds")
    if change["cells_open"] == 0:
        print_line("no cell takes new users now: sign-ups are refused with 503", style="yellow")


async def _not_applied(cell: str) -> list[dict[str, Any]]:
    async with open_cell_admin(open_stack()) as admin:
        quarantined = [row async for row in admin.rows(cell, "/operator/v1/quarantine")]
        early = [row async for row in admin.rows(cell, "/operator/v1/early-reports")]
    return [{**row, "waits_until": None} for row in quarantined] + early


async def _ask(cell: str, *, checks: bool) -> dict[str, Any]:
    # What an operator's run found feeds the alerts; a viewer's would leave nothing.
    purpose = Purpose("check", cell, Role.OPERATOR) if checks else LOOK
    async with open_cell_admin(open_stack(), purpose) as admin:
        return await (admin.checks(cell) if checks else admin.summary(cell))


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in sorted(value.items())) or "none"
    return str(value)
