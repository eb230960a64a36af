"""`shardctl cells retry-report`: have a quarantined report judged again."""

import asyncio
from typing import Annotated, Any

import typer

from shardctl.cell_admin import open_cell_admin
from shardctl.output import console, print_json
from shardctl.stack.current import open_stack


def retry_report(
    cell: Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")],
    report: Annotated[int, typer.Argument(help="Its id, as `shardctl cells quarantine CELL` shows it.", min=1)],
    reason: Annotated[str, typer.Option(help="Kept in the cell, with who you are.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a quarantined report back to be judged like any other, when what was in its way is mended. It is applied
    within seconds, or is in the quarantine again under a new id."""
    done = asyncio.run(_retry(cell, report, reason))
    if as_json:
        print_json(done)
        return
    about = f"of order {done['order_id']} " if done["order_id"] else ""
    console.print(f"report {report} {about}goes to the books again within seconds", highlight=False)
    console.print(f"if not, it is back, with the reason: shardctl cells quarantine {cell}", highlight=False)


async def _retry(cell: str, report: int, reason: str) -> dict[str, Any]:
    async with open_cell_admin(open_stack()) as admin:
        return await admin.call(cell, "POST", f"/operator/v1/quarantine/{report}/retry", {"reason": reason})


def register(app: typer.Typer) -> None:
    """A verb of `shardctl cells`."""
    app.command()(retry_report)
