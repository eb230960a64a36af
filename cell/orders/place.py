"""Place an order: parse, queue one command, answer what the database decided. 201 means durable."""

import msgspec

from cell import errors
from cell.caller import Answer, Caller
from cell.commands.arguments import PlaceArguments
from cell.commands.batcher import Batcher
from cell.commands.command import Command, CommandKind
from cell.commands.fingerprint import fingerprint
from cell.commands.outcome import settled
from cell.orders.schemas import OrderTerms, accepted_view, parse_order, stored_terms

_encode = msgspec.json.Encoder().encode


def place_command(terms: OrderTerms, caller: Caller, key: str) -> Command:
    """The terms as a command to the database."""
    return Command(
        kind=CommandKind.PLACE,
        user_id=caller.user_id,
        key=key,
        fingerprint=_fingerprint(terms),
        arguments=PlaceArguments(
            client_order_id=terms.client_order_id,
            symbol=terms.symbol,
            side=terms.side,
            type=terms.type,
            time_in_force=terms.time_in_force,
            order_qty=terms.order_qty_micros,
            limit_px=terms.limit_px_micros,
            stop_px=terms.stop_px_micros,
            notional=terms.notional_micros,
        ),
    )


def _fingerprint(terms: OrderTerms) -> bytes:
    return fingerprint(
        "POST",
        "/v1/orders",
        symbol=terms.symbol,
        side=terms.side,
        type=terms.type,
        time_in_force=terms.time_in_force,
        qty=terms.order_qty_micros,
        limit_price=terms.limit_px_micros,
        stop_price=terms.stop_px_micros,
        notional=terms.notional_micros,
        client_order_id=terms.client_order_id,
        joined=(
            terms.symbol,
            terms.side,
            terms.type,
            terms.time_in_force,
            terms.order_qty_micros,
            terms.limit_px_micros,
            terms.client_order_id,
            *(() if terms.stop_px_micros is None else (terms.stop_px_micros,)),
            *(() if terms.notional_micros is None else ("notional", terms.notional_micros)),
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
    shown = stored_terms(outcome.figures) if outcome.replayed else terms
    if shown != terms:  # the joined form of fingerprints could not tell them apart
        raise errors.refusal("IDEMPOTENCY_KEY_REUSED", None)
    view = accepted_view(
        shown,
        outcome.resource_id,
        held_micros=int(outcome.figures["held"]),
        status=outcome.figures.get("status", "funds_held"),
        at=outcome.at,
    )
    return Answer(201, _encode(view), replayed=outcome.replayed, etag=view.etag)
