"""Orders on the wire: what customers send and what they get back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from cell import errors
from cell.caller import Moment, format_time, is_visible_ascii
from cell.fields import parse_amount, parse_choice, parse_symbol
from cell.money import AMOUNT_MAX_MICROS, Amount, average_price_micros, format_micros
from cell.orders.status import CLOSED
from infra.runtime.strict_body import decode_body
from infra.topology.identifiers import parse_uuid

_SIDES: Final = frozenset({"buy", "sell"})
_TYPES: Final = frozenset({"market", "limit", "stop", "stop_limit"})
_WITH_LIMIT: Final = frozenset({"limit", "stop_limit"})
_WITH_STOP: Final = frozenset({"stop", "stop_limit"})
_HARD_TO_SPELL: Final = frozenset("/\\%")
"""What a path can hold only in ways that two readers may take for two things."""
NOTIONAL_MIN_MICROS: Final = 1_000_000
"""A dollar: at the highest price there can be, a million dollars, it still buys a micro-share."""
_TIMES_IN_FORCE: Final = frozenset({"day", "gtc", "ioc", "fok"})


class OrderRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /v1/orders`. Amounts stay raw JSON tokens, so that no digit is lost before they are parsed."""

    symbol: str | UnsetType = UNSET
    side: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    qty: Raw | UnsetType = UNSET
    notional: Raw | UnsetType = UNSET
    limit_price: Raw | UnsetType = UNSET
    stop_price: Raw | UnsetType = UNSET
    time_in_force: str | UnsetType = UNSET
    client_order_id: str | UnsetType | None = UNSET


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """A normalised order: what the idempotency fingerprint and the database see."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    order_qty_micros: int | None
    limit_px_micros: int | None
    stop_px_micros: int | None
    client_order_id: str | None
    notional_micros: int | None = None
    """The amount to trade for; then there is no quantity."""


class OrderView(msgspec.Struct):
    """An order as customers see it."""

    order_id: UUID
    client_order_id: str | None
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Amount | None
    notional: Amount | None
    limit_price: Amount | None
    stop_price: Amount | None
    status: str
    cum_qty: Amount
    leaves_qty: Amount | None
    """null while an order by amount is open: what is left of it is an amount."""
    avg_px: Amount | None
    held: Amount
    reject_reason: str | None
    replaces: UUID | None
    replaced_by: UUID | None
    venue_order_id: str | None
    """The venue's own name for it; null until the venue has acknowledged it."""
    created_at: Moment
    updated_at: Moment
    etag: str


_decoder = msgspec.json.Decoder(OrderRequest)


def _given(raw: Raw | UnsetType) -> bytes | None:
    if raw is UNSET:
        return None
    token = bytes(raw)
    return None if token == b"null" else token


def check_client_order_id(name: str) -> None:
    """A name that stands in a path: `by-client-order-id/{name}` must reach it through every proxy. Raises Problem."""
    if not is_visible_ascii(name) or not _HARD_TO_SPELL.isdisjoint(name) or name in {".", ".."}:
        detail = "1 to 128 visible ASCII characters, none of them a slash, a backslash or a percent sign"
        raise errors.invalid_field(422, "client_order_id", detail)


def _check_price_given(field: str, kind: str, token: bytes | None, needed: bool) -> None:
    if needed and token is None:
        raise errors.invalid_field(400, field, f"a {kind} order needs one")
    if not needed and token is not None:
        raise errors.invalid_field(422, field, f"a {kind} order has none")


def parse_order_id(text: str) -> UUID:
    """An order id from a path; what is no UUID in its usual spelling is nobody's order. Raises Problem."""
    try:
        return parse_uuid(text)
    except ValueError as error:
        raise errors.order_not_found() from error


def parse_time_in_force(value: str | UnsetType) -> str:
    """Raises Problem."""
    return parse_choice("time_in_force", value, _TIMES_IN_FORCE)


def parse_order(raw: bytes) -> OrderTerms:
    """The terms of an order request. Raises Problem: 400 unparsable or missing, 422 understood and refused.

    Told is the first fault in this order: body, symbol, side, type, time in force; quantity or amount, exactly one;
    which prices the type wants; the client's name; the numbers themselves. A price outside its band, or funds, are the
    database's to judge.
    """
    body = decode_body(_decoder, raw)
    symbol = parse_symbol(body.symbol)
    side = parse_choice("side", body.side, _SIDES)
    kind = parse_choice("type", body.type, _TYPES)
    time_in_force = "day" if body.time_in_force is UNSET else parse_time_in_force(body.time_in_force)
    name = None if body.client_order_id is UNSET else body.client_order_id
    qty, notional = _given(body.qty), _given(body.notional)
    limit, stop = _given(body.limit_price), _given(body.stop_price)
    if qty is None and notional is None:
        raise errors.invalid_field(400, "qty", "missing; or send notional, the amount to trade for")
    if qty is not None and notional is not None:
        raise errors.invalid_field(422, "notional", "an order is for a quantity or for an amount, not for both")
    if notional is not None and kind in _WITH_STOP:
        raise errors.invalid_field(422, "notional", "market and limit orders only; a stop order is for a quantity")
    _check_price_given("limit_price", kind, limit, kind in _WITH_LIMIT)
    _check_price_given("stop_price", kind, stop, kind in _WITH_STOP)
    if name is not None:
        check_client_order_id(name)
    return OrderTerms(
        symbol=symbol,
        side=side,
        type=kind,
        time_in_force=time_in_force,
        order_qty_micros=None if qty is None else parse_amount("qty", qty, price=False),
        limit_px_micros=None if limit is None else parse_amount("limit_price", limit, price=True),
        stop_px_micros=None if stop is None else parse_amount("stop_price", stop, price=True),
        client_order_id=name,
        notional_micros=None if notional is None else _parse_notional(notional),
    )


def _parse_notional(token: bytes) -> int:
    micros = parse_amount("notional", token, price=False, limit_micros=AMOUNT_MAX_MICROS)
    if micros < NOTIONAL_MIN_MICROS:
        least = format_micros(NOTIONAL_MIN_MICROS)
        raise errors.invalid_field(422, "notional", f"at least {least}", limit=least)
    return micros


def stored_terms(figures: Mapping[str, Any]) -> OrderTerms:
    """The terms of an order as its row has them, so that a repeat is answered from what was stored."""
    return OrderTerms(
        symbol=figures["symbol"],
        side=figures["side"],
        type=figures["type"],
        time_in_force=figures["time_in_force"],
        order_qty_micros=figures["order_qty_micros"],
        limit_px_micros=figures["limit_px_micros"],
        stop_px_micros=figures["stop_px_micros"],
        client_order_id=figures["client_order_id"],
        notional_micros=figures["notional_micros"],
    )


def accepted_view(
    terms: OrderTerms, order_id: UUID, *, held_micros: int, status: str = "funds_held", at: datetime
) -> OrderView:
    """The order as it stood when it was accepted: the first answer and every replay of it."""
    stamp = format_time(at)
    qty = _optional(terms.order_qty_micros)
    return OrderView(
        order_id=order_id,
        client_order_id=terms.client_order_id,
        symbol=terms.symbol,
        side=terms.side,
        type=terms.type,
        time_in_force=terms.time_in_force,
        qty=qty,
        notional=_optional(terms.notional_micros),
        limit_price=_optional(terms.limit_px_micros),
        stop_price=_optional(terms.stop_px_micros),
        status=status,
        cum_qty="0.000000",
        leaves_qty=qty,
        avg_px=None,
        held=qty if qty is not None and terms.side == "sell" else format_micros(held_micros),
        reject_reason=None,
        replaces=None,
        replaced_by=None,
        venue_order_id=None,
        created_at=stamp,
        updated_at=stamp,
        etag='"3"',
    )


def _optional(micros: int | None) -> str | None:
    return None if micros is None else format_micros(micros)


def order_view(row: Mapping[str, Any]) -> OrderView:
    """An order's row, whether read from the table or from a stored answer (there ids and times are text)."""
    qty, cum = row["order_qty_micros"], row["cum_qty_micros"]
    ended = row["status"] in CLOSED
    average = average_price_micros(int(row["cum_cost_exact"]), cum)
    held = row["held_shares_micros"] if row["side"] == "sell" else row["held_cash_micros"]
    return OrderView(
        order_id=_uuid(row["order_id"]),
        client_order_id=row["client_order_id"],
        symbol=row["symbol"],
        side=row["side"],
        type=row["type"],
        time_in_force=row["time_in_force"],
        qty=_optional(qty),
        notional=_optional(row["notional_micros"]),
        limit_price=_optional(row["limit_px_micros"]),
        stop_price=_optional(row["stop_px_micros"]),
        status=row["status"],
        cum_qty=format_micros(cum),
        leaves_qty=format_micros(0) if ended else None if qty is None else format_micros(qty - cum),
        avg_px=_optional(average),
        held=format_micros(held),
        reject_reason=row["reject_reason"],
        replaces=None if row["replaces"] is None else _uuid(row["replaces"]),
        replaced_by=None if row["replaced_by"] is None else _uuid(row["replaced_by"]),
        venue_order_id=row["venue_order_id"],
        created_at=_time(row["created_at"]),
        updated_at=_time(row["updated_at"]),
        etag=f'"{row["event_seq"]}"',
    )


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _time(value: datetime | str) -> str:
    return format_time(value if isinstance(value, datetime) else datetime.fromisoformat(value))
