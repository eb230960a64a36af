"""Cancel an order: at once if the venue never saw it, otherwise `pending_cancel` until the venue confirms."""

from typing import Final
from uuid import UUID

import msgspec

from cell import errors
from cell.caller import Answer, Caller
from cell.commands.arguments import CancelArguments
from cell.commands.batcher import Batcher
from cell.commands.command import Command, CommandKind
from cell.commands.fingerprint import fingerprint
from cell.commands.outcome import settled
from cell.orders.queries import find_by_client_order_id
from cell.orders.schemas import order_view
from infra.runtime.database import Pool

_encode = msgspec.json.Encoder().encode


NO_ORDER: Final = UUID(int=0)
"""Nobody's order: what a name stands for that the customer has not given to one."""


async def cancel_order(batcher: Batcher, caller: Caller, key: str, order_id: UUID) -> Answer:
    """200 cancelled, 202 pending_cancel. Raises Problem: 404 also for an order of somebody else, 409 if it ended."""
    return await _cancel(batcher, cancel_command(caller, key, order_id))


async def cancel_named_order(batcher: Batcher, pool: Pool, caller: Caller, key: str, client_order_id: str) -> Answer:
    """As `cancel_order`, by the customer's own name for the order. A name is given once and never to another order, so
    it may be looked up before the user is locked; that nobody has it is decided, and stored, like any other refusal."""
    found = await find_by_client_order_id(pool, caller.user_id, client_order_id)
    order_id = NO_ORDER if found is None else found["order_id"]
    return await _cancel(batcher, cancel_command(caller, key, order_id, client_order_id))


def cancel_command(caller: Caller, key: str, order_id: UUID, client_order_id: str | None = None) -> Command:
    """By the order's id, or by the customer's name for it: two different requests."""
    if client_order_id is None:
        asked = fingerprint("DELETE", "/v1/orders", order_id=order_id, joined=(order_id,))
    else:
        path = "/v1/orders/by-client-order-id"
        asked = fingerprint("DELETE", path, client_order_id=client_order_id, joined=(client_order_id,))
    return Command(CommandKind.CANCEL, caller.user_id, key, asked, CancelArguments(order_id))


async def _cancel(batcher: Batcher, command: Command) -> Answer:
    outcome = await settled(batcher, command)
    if outcome.outcome not in {"cancelled", "pending_cancel"}:
        raise errors.refusal(outcome.outcome, outcome.figures, replayed=outcome.replayed)
    assert outcome.figures is not None
    view = order_view(outcome.figures)
    status = 200 if outcome.outcome == "cancelled" else 202
    return Answer(status, _encode(view), replayed=outcome.replayed, etag=view.etag)
