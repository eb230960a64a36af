"""Bring shares from another broker: parse, queue one command, answer what the database decided.

`accepted` means posted. `pending` waits for an operator; nothing is posted until then.
"""

from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from cell import errors
from cell.caller import Answer, Caller, Moment, format_time
from cell.commands.arguments import TransferArguments
from cell.commands.batcher import Batcher
from cell.commands.command import Command, CommandKind
from cell.commands.fingerprint import fingerprint
from cell.commands.outcome import settled
from cell.fields import parse_amount, parse_symbol
from cell.money import PRICE_MAX_MICROS, Amount, format_micros
from infra.runtime.strict_body import decode_body


class TransferRequest(msgspec.Struct, forbid_unknown_fields=True):
    symbol: str | UnsetType = UNSET
    qty: Raw | UnsetType = UNSET
    unit_cost: Raw | UnsetType = UNSET


class TransferView(msgspec.Struct):
    transfer_id: UUID
    symbol: str
    qty: Amount
    unit_cost: Amount
    status: str
    created_at: Moment


_decoder = msgspec.json.Decoder(TransferRequest)


def transfer_fingerprint(symbol: str, qty_micros: int, unit_cost_micros: int) -> bytes:
    return fingerprint(
        "POST",
        "/v1/share-transfers",
        symbol=symbol,
        qty=qty_micros,
        unit_cost=unit_cost_micros,
        joined=(symbol, qty_micros, unit_cost_micros),
    )


async def transfer_shares(batcher: Batcher, caller: Caller, key: str, raw: bytes) -> Answer:
    """201 with the transfer, `accepted` or `pending`. Raises Problem."""
    body = decode_body(_decoder, raw)
    symbol = parse_symbol(body.symbol)
    if body.qty is UNSET:
        raise errors.invalid_field(400, "qty", "missing")
    if body.unit_cost is UNSET:
        raise errors.invalid_field(400, "unit_cost", "missing")
    qty = parse_amount("qty", bytes(body.qty), price=False)
    unit_cost = parse_amount(
        "unit_cost", bytes(body.unit_cost), price=False, limit_micros=PRICE_MAX_MICROS, zero_allowed=True
    )
    command = Command(
        CommandKind.TRANSFER,
        caller.user_id,
        key,
        transfer_fingerprint(symbol, qty, unit_cost),
        TransferArguments(symbol, qty, unit_cost),
    )
    outcome = await settled(batcher, command)
    if outcome.outcome != "accepted":
        raise errors.refusal(outcome.outcome, outcome.figures, replayed=outcome.replayed)
    assert outcome.resource_id is not None
    assert outcome.figures is not None
    asked = (symbol, qty, unit_cost)
    figures = outcome.figures
    stored = (figures["symbol"], figures["qty_micros"], figures["unit_cost_micros"]) if outcome.replayed else asked
    if stored != asked:
        raise errors.refusal("IDEMPOTENCY_KEY_REUSED", None)
    view = TransferView(
        transfer_id=outcome.resource_id,
        symbol=stored[0],
        qty=format_micros(stored[1]),
        unit_cost=format_micros(stored[2]),
        status=figures["status"],
        created_at=format_time(outcome.at),
    )
    return Answer(201, msgspec.json.encode(view), replayed=outcome.replayed)
