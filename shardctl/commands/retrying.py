"""`shardctl cells retry-report`: have a quarantined report judged again."""

import asyncio
from typing import Annotated, Any

import typer

from infra.security.roles import Role
from shardctl.audit.recording import recorded_act
from shardctl.cell_admin import open_cell_admin
from shardctl.operator_tokens import Purpose
from shardctl.output import print_json, print_line
from shardctl.stack.current import open_stack


def retry_report(
    cell: Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")],
    report: Annotated[int, typer.Argument(help="The report's id in `shardctl cells quarantine CELL`.", min=1)],
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the cell.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Apply a quarantined report again, after its cause is mended. Within seconds it is applied, or it is back in
    quarantine under a new id, with the reason."""
    done = asyncio.run(_retry(cell, report, reason))
    if as_json:
        print_json(done)
        return
    about = f"of order {done['order_id']} " if done["order_id"] else ""
    print_line(f"report {report} {about}is applied again within seconds")
    print_line(f"to see whether it was refused again: shardctl cells quarantine {cell}")


async def _retry(cell: str, report: int, reason: str) -> dict[str, Any]:
    stack = open_stack()
    act = recorded_act(stack, "cells.retry_report", cell, reason=reason, arguments={"report": report})
    purpose = Purpose("retry_report", f"{cell} {report}", Role.OPERATOR, reason)
    async with act, open_cell_admin(stack, purpose) as admin:
        return await admin.call(cell, "POST", f"/operator/v1/quarantine/{report}/retry")
