"""`shardctl cells summary`, `check` and `quarantine`: one cell, as it tells of itself."""

import asyncio
from typing import Any

from infra.security.roles import Role
from shardctl.cell_admin import open_cell_admin
from shardctl.commands.options import AsJson, CellName
from shardctl.errors import Refused
from shardctl.operator_tokens import LOOK, Purpose
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack


def summary(cell: CellName, as_json: AsJson = False) -> None:
    """Users, orders by state, executions, cash and shares of one cell."""
    found = asyncio.run(_ask(cell, checks=False))
    if as_json:
        print_json(found)
        return
    print_table(("", ""), [(name, _flat(value)) for name, value in found.items()])


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
