"""`shardctl transfers approve` and `refuse`: shares from other brokers that wait."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from shardctl.output import print_json, print_line
from shardctl.stack.current import open_stack
from shardctl.transfers import decide

UserName = Annotated[str, typer.Argument(metavar="USER", help="A user id, or the email of the sign-up.")]
Transfers = Annotated[list[UUID], typer.Argument(metavar="TRANSFER...", help="Ids from `shardctl transfers list`.")]
Reason = Annotated[str, typer.Option(help="Why; kept with your name in the user's cell. The customer never sees it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def approve(user: UserName, transfers: Transfers, reason: Reason, as_json: AsJson = False) -> None:
    """Post the shares to the customer's account. Harmless to repeat; a refused transfer stays refused."""
    _decide(user, transfers, reason, as_json, approve=True)


def refuse(user: UserName, transfers: Transfers, reason: Reason, as_json: AsJson = False) -> None:
    """End the transfer; nothing is posted. Harmless to repeat; an approved transfer stays approved."""
    _decide(user, transfers, reason, as_json, approve=False)


def _decide(user: str, transfers: list[UUID], reason: str, as_json: bool, *, approve: bool) -> None:
    names = [str(transfer) for transfer in transfers]
    done = asyncio.run(decide(open_stack(), user, names, approve=approve, reason=reason))
    if as_json:
        print_json(done[0] if len(done) == 1 else done)
        return
    for item in done:
        outcome = f"{item['status']} now" if item["changed"] else f"was {item['status']} already"
        if not item["changed"] and item["decided_by"] is not None:
            outcome += f", by {item['decided_by']} at {item['decided_at']}"
        print_line(f"{item['transfer_id']}: {outcome}")
