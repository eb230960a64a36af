"""`shardctl cells retry-report`: have a quarantined report judged again."""

from typing import Annotated
from urllib.parse import quote

import typer

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.operator_tokens import check_kept
from shardctl.output import print_json, print_line


def retry_report(
    cell: Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")],
    report: Annotated[int, typer.Argument(help="The report's id in `shardctl cells quarantine CELL`.", min=1)],
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the cell.")],
    as_json: AsJson = False,
) -> None:
    """Apply a quarantined report again, after its cause is mended. Within seconds it is applied, or it is back in
    quarantine under a new id, with the reason."""
    check_kept(reason)
    done = open_control().post(f"/v1/cells/{quote(cell, safe='')}/reports/{report}/retry", {"reason": reason})
    if as_json:
        print_json(done)
        return
    about = f"of order {done['order_id']} " if done["order_id"] else ""
    print_line(f"report {report} {about}is applied again within seconds")
    print_line(f"to see whether it was refused again: shardctl cells quarantine {cell}")
