"""Cancel an order: at once if the venue never saw it, otherwise `pending_cancel` until the venue confirms."""

from uuid import UUID

import msgspec

from cell import errors
from cell.caller import Answer, Caller, fingerprint
from cell.orders.batcher import Batcher, Command, CommandKind
from cell.orders.outcome import settled
from cell.orders.schemas import order_view

_encode = msgspec.json.Encoder().encode


async def cancel_order(batcher: Batcher, caller: Caller, key: str, order_id: UUID) -> Answer:
    """200 cancelled, 202 pending_cancel. Raises Problem: 404 also for an order of somebody else, 409 if it ended."""
    command = Command(
        kind=CommandKind.CANCEL,
        user_id=caller.user_id,
        key=key,
        fingerprint=fingerprint("DELETE", "/v1/orders", order_id),
        arguments=(order_id,),
    )
    outcome = await settled(batcher, command)
    if outcome.outcome not in {"cancelled", "pending_cancel"}:
        raise errors.refusal(outcome.outcome, outcome.figures, replayed=outcome.replayed)
    assert outcome.figures is not None
    view = order_view(outcome.figures)
    status = 200 if outcome.outcome == "cancelled" else 202
    return Answer(status, _encode(view), replayed=outcome.replayed, etag=view.etag)
