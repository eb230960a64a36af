"""`shardctl transfers approve` and `refuse`: shares from other brokers that wait."""

from typing import Annotated
from uuid import UUID

import typer

from shardctl.commands.finding import find_user
from shardctl.commands.options import AsJson, UserName
from shardctl.commands.submitting import open_control
from shardctl.operator_tokens import check_kept
from shardctl.output import print_json, print_line

Transfers = Annotated[list[UUID], typer.Argument(metavar="TRANSFER...", help="Ids from `shardctl transfers list`.")]
Reason = Annotated[str, typer.Option(help="Why; kept with your name in the user's cell. The customer never sees it.")]


def approve(user: UserName, transfers: Transfers, reason: Reason, as_json: AsJson = False) -> None:
    """Post the shares to the customer's account. Harmless to repeat; a refused transfer stays refused."""
    _decide(user, transfers, reason, as_json, "approve")


def refuse(user: UserName, transfers: Transfers, reason: Reason, as_json: AsJson = False) -> None:
    """End the transfer; nothing is posted. Harmless to repeat; an approved transfer stays approved."""
    _decide(user, transfers, reason, as_json, "refuse")


def _decide(user: str, transfers: list[UUID], reason: str, as_json: bool, decision: str) -> None:
    """One after the other. The first that was decided otherwise before ends it; those before it stand, and repeating
    them is harmless."""
    check_kept(reason)
    control = open_control()
    path = f"/v1/users/{find_user(control, user)['user_id']}/share-transfers"
    wanted = {"reason": reason}
    done = [control.post(f"{path}/{transfer}/{decision}", wanted, is_repeatable=True) for transfer in transfers]
    if as_json:
        print_json(done[0] if len(done) == 1 else done)
        return
    for item in done:
        outcome = f"{item['status']} now" if item["changed"] else f"was {item['status']} already"
        if not item["changed"] and item["decided_by"] is not None:
            outcome += f", by {item['decided_by']} at {item['decided_at']}"
        print_line(f"{item['transfer_id']}: {outcome}")
