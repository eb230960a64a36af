"""Replace an order: a new one that names the old one, at once if the venue never saw that, otherwise once it agrees.

`If-Match` must name the version of the order that the customer saw (its ETag), so that nobody replaces what has moved.
Under failure as every command: durable when answered, and a repeat with the same key answers the same.
"""

import re
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from cell import errors
from cell.caller import Answer, Caller
from cell.commands.arguments import ReplaceArguments
from cell.commands.batcher import Batcher
from cell.commands.command import Command, CommandKind
from cell.commands.fingerprint import fingerprint
from cell.commands.outcome import settled
from cell.fields import parse_amount
from cell.orders.queries import find_order
from cell.orders.schemas import check_client_order_id, order_view, parse_time_in_force
from infra.runtime.database import Pool
from infra.runtime.strict_body import decode_body

_ETAG: Final = re.compile(r'"([1-9][0-9]{0,8})"')
_TAG: Final = re.compile(r'(?:W/)?"[!#-~]*"')
_TAGS: Final = re.compile(rf"{_TAG.pattern}(?:[ \t]*,[ \t]*{_TAG.pattern})*")
NEVER: Final = -1
"""The version of no order: nothing that stands in If-Match is one of our tags."""
_encode = msgspec.json.Encoder().encode


class ReplaceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`PATCH /v1/orders/{order_id}`. Amounts stay raw JSON tokens, so that no digit is lost before they are parsed."""

    qty: Raw | UnsetType = UNSET
    limit_price: Raw | UnsetType = UNSET
    stop_price: Raw | UnsetType = UNSET
    time_in_force: str | UnsetType | None = UNSET
    client_order_id: str | UnsetType | None = UNSET


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes different; None: stays."""

    qty_micros: int | None
    limit_px_micros: int | None
    stop_px_micros: int | None
    time_in_force: str | None
    client_order_id: str | None = None
    """The new order's own; without one it has none: the old order keeps its name."""


_decoder = msgspec.json.Decoder(ReplaceRequest)


def parse_if_match(value: str | None) -> tuple[int, ...] | None:
    """The versions that the customer would replace; None for `*`. Raises Problem: 400 missing or no entity tags."""
    text = (value or "").strip()
    if not text:
        raise errors.precondition_required()
    if text == "*":
        return None
    if _TAGS.fullmatch(text) is None:
        raise errors.invalid_field(400, "If-Match", 'entity tags as in the order\'s etag, such as "3", or *')
    # a weak tag, or one that is not ours, is the version of no order
    ours = (_ETAG.fullmatch(tag) for tag in _TAG.findall(text))
    return tuple(sorted({int(tag[1]) for tag in ours if tag is not None})) or (NEVER,)


async def _choose_version(pool: Pool, caller: Caller, order_id: UUID, versions: tuple[int, ...] | None) -> int | None:
    """The one that the procedure holds against the order: of several the one that it has now, if it is among them."""
    if versions is None or len(versions) == 1:
        return None if versions is None else versions[0]
    row = await find_order(pool, caller.user_id, order_id)
    return row["event_seq"] if row is not None and row["event_seq"] in versions else NEVER


def _amount(field: str, raw: Raw | UnsetType, *, price: bool) -> int | None:
    if raw is UNSET or bytes(raw) == b"null":
        return None
    return parse_amount(field, bytes(raw), price=price)


def parse_changes(raw: bytes) -> Changes:
    """The changes a request asks for. Raises Problem: 400 unparsable or empty, 422 understood and refused."""
    body = decode_body(_decoder, raw)
    changes = Changes(
        qty_micros=_amount("qty", body.qty, price=False),
        limit_px_micros=_amount("limit_price", body.limit_price, price=True),
        stop_px_micros=_amount("stop_price", body.stop_price, price=True),
        time_in_force=None if body.time_in_force in (None, UNSET) else parse_time_in_force(body.time_in_force),
    )
    if changes == Changes(None, None, None, None):
        raise errors.invalid_field(400, "body", "send at least one of qty, limit_price, stop_price, time_in_force")
    if body.client_order_id is UNSET or body.client_order_id is None:
        return changes
    check_client_order_id(body.client_order_id)
    return replace(changes, client_order_id=body.client_order_id)


def replace_fingerprint(order_id: UUID, versions: tuple[int, ...] | None, changes: Changes) -> bytes:
    return fingerprint(
        "PATCH",
        "/v1/orders",
        order_id=order_id,
        if_match=versions,
        qty=changes.qty_micros,
        limit_price=changes.limit_px_micros,
        stop_price=changes.stop_px_micros,
        time_in_force=changes.time_in_force,
        client_order_id=changes.client_order_id,
        joined=(
            order_id,
            None if versions is None else ",".join(map(str, versions)),
            changes.qty_micros,
            changes.limit_px_micros,
            changes.stop_px_micros,
            changes.time_in_force,
            *(() if changes.client_order_id is None else (changes.client_order_id,)),
        ),
    )


async def replace_order(
    batcher: Batcher,
    pool: Pool,
    caller: Caller,
    key: str,
    order_id: UUID,
    if_match: str | None,
    raw: bytes,
) -> Answer:
    """202 with the new order. Raises Problem: 404, 409 not open, 412 another version, 422; 400 without If-Match."""
    versions = parse_if_match(if_match)
    changes = parse_changes(raw)
    command = Command(
        kind=CommandKind.REPLACE,
        user_id=caller.user_id,
        key=key,
        fingerprint=replace_fingerprint(order_id, versions, changes),
        arguments=ReplaceArguments(
            order_id=order_id,
            etag=await _choose_version(pool, caller, order_id, versions),
            order_qty=changes.qty_micros,
            limit_px=changes.limit_px_micros,
            stop_px=changes.stop_px_micros,
            time_in_force=changes.time_in_force,
            client_order_id=changes.client_order_id,
        ),
    )
    outcome = await settled(batcher, command)
    if outcome.outcome == "INVALID_FIELD":
        figures = outcome.figures or {}
        raise errors.field_not_of_order(figures, replayed=outcome.replayed)
    if outcome.outcome != "accepted":
        raise errors.refusal(outcome.outcome, outcome.figures, replayed=outcome.replayed)
    assert outcome.figures is not None
    view = order_view(outcome.figures)
    return Answer(202, _encode(view), replayed=outcome.replayed, etag=view.etag)
