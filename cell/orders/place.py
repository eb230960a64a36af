"""Place an order: parse, queue one command, answer what the database decided. 201 means durable."""

import msgspec

from cell import errors
from cell.caller import Answer, Caller, fingerprint
from cell.orders.batcher import Batcher
from cell.orders.command import Command, CommandKind
from cell.orders.outcome import settled
from cell.orders.schemas import OrderTerms, accepted_view, parse_order

_encode = msgspec.json.Encoder().encode


def place_command(terms: OrderTerms, caller: Caller, key: str) -> Command:
    """The terms as a command to the database."""
    return Command(
        kind=CommandKind.PLACE,
        user_id=caller.user_id,
        key=key,
        fingerprint=fingerprint(
            "POST",
            "/v1/orders",
            terms.symbol,
            terms.side,
            terms.type,
            terms.time_in_force,
            terms.order_qty_micros,
            terms.limit_px_micros,
            terms.client_order_id,
            # keys used before there were stops, and orders by amount, stay valid
            *(() if terms.stop_px_micros is None else (terms.stop_px_micros,)),
            *(() if terms.notional_micros is None else ("notional", terms.notional_micros)),
        ),
        arguments=(
            terms.client_order_id,
            terms.symbol,
            terms.side,
            terms.type,
            terms.time_in_force,
            terms.order_qty_micros,
            terms.limit_px_micros,
            terms.stop_px_micros,
            terms.notional_micros,
        ),
    )


async def place_order(batcher: Batcher, caller: Caller, key: str, raw: bytes) -> Answer:
    """201 with the order as accepted, or the refusal as a Problem. Raises Problem."""
    terms = parse_order(raw)
    outcome = await settled(batcher, place_command(terms, caller, key))
    if outcome.outcome != "accepted":
        raise errors.refusal(outcome.outcome, outcome.figures, replayed=outcome.replayed)
    assert outcome.resource_id is not None
    assert outcome.figures is not None
    view = accepted_view(
        terms,
        outcome.resource_id,
        held_micros=int(outcome.figures["held"]),
        status=outcome.figures.get("status", "funds_held"),
        at=outcome.at,
    )
    return Answer(201, _encode(view), replayed=outcome.replayed, etag=view.etag)
