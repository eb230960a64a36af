"""`/v1/positions`, `/v1/portfolio`, `/v1/share-transfers`, `/v1/symbols`."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import UNSET, Raw, UnsetType

from cell import errors
from cell.caller import Answer, Caller, Moment, format_time, idempotency_key
from cell.controller import (
    LIST,
    READ,
    SYMBOL,
    WRITE,
    Described,
    IdempotencyKey,
    amount,
    answers,
    as_response,
    json_body,
)
from cell.fingerprint import fingerprint
from cell.money import (
    MICROS,
    PRICE_MAX_MICROS,
    Amount,
    average_micros,
    format_micros,
    value_micros,
)
from cell.orders.batcher import Batcher
from cell.orders.command import Command, CommandKind
from cell.orders.outcome import settled
from cell.orders.schemas import is_symbol, parse_amount, parse_symbol
from cell.paging import foreign_token, parse_page
from cell.positions import queries
from cell.transfers.state import TransferPage, TransferState, read_transfer, read_transfers
from infra.runtime.database import Pool
from infra.runtime.problem import Problem
from infra.runtime.strict_body import check_content_type, decode_body


class PositionView(msgspec.Struct):
    symbol: str
    qty: Amount
    qty_held: Amount
    cost_basis: Amount
    avg_cost: Amount | None
    reference_price: Amount | None
    market_value: Amount | None
    unrealized_pl: Amount | None


class PositionPage(msgspec.Struct):
    items: list[PositionView]
    next_page_token: str | None


class PortfolioView(msgspec.Struct):
    cash: Amount
    positions_value: Amount
    equity: Amount
    positions: list[PositionView]
    as_of: Moment


class SymbolView(msgspec.Struct):
    symbol: str
    tradable: bool
    reference_price: Amount | None
    as_of: Moment | None


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


def _market_value(row: Mapping[str, Any]) -> int | None:
    price = row["reference_px_micros"]
    return None if price is None else value_micros(row["qty_micros"], price)


def position_view(row: Mapping[str, Any]) -> PositionView:
    qty, basis, price = row["qty_micros"], row["cost_basis_micros"], row["reference_px_micros"]
    value = _market_value(row)
    average = average_micros(basis, qty)
    return PositionView(
        symbol=row["symbol"],
        qty=format_micros(qty),
        qty_held=format_micros(row["qty_held_micros"]),
        cost_basis=format_micros(basis),
        avg_cost=None if average is None else format_micros(average),
        reference_price=None if price is None else format_micros(price),
        market_value=None if value is None else format_micros(value),
        unrealized_pl=None if value is None else format_micros(value - basis),
    )


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
        (symbol, qty, unit_cost),
    )
    outcome = await settled(batcher, command)
    if outcome.outcome != "accepted":
        raise errors.refusal(outcome.outcome, outcome.figures, replayed=outcome.replayed)
    assert outcome.resource_id is not None
    assert outcome.figures is not None
    asked = (symbol, qty, unit_cost)
    told = outcome.figures
    stored = (told["symbol"], told["qty_micros"], told["unit_cost_micros"]) if outcome.replayed else asked
    if stored != asked:
        raise errors.refusal("IDEMPOTENCY_KEY_REUSED", None)
    view = TransferView(
        transfer_id=outcome.resource_id,
        symbol=stored[0],
        qty=format_micros(stored[1]),
        unit_cost=format_micros(stored[2]),
        status=told["status"],
        created_at=format_time(outcome.at),
    )
    return Answer(201, msgspec.json.encode(view), replayed=outcome.replayed)


_TransferBody = json_body(
    {
        "symbol": SYMBOL,
        "qty": amount("shares, at most six decimals"),
        "unit_cost": amount("dollars paid per share, zero allowed", most=PRICE_MAX_MICROS // MICROS, zero_allowed=True),
    },
    example={"symbol": "AAPL", "qty": "10", "unit_cost": "95.20"},
)


class PositionController(Controller):
    path = "/v1"
    tags = ("positions",)

    @get(
        "/positions",
        summary="What the customer owns, by symbol",
        operation_class=Described,
        responses=answers(PositionPage, LIST, s200="a page of positions"),
    )
    async def positions(
        self,
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
    ) -> PositionPage:
        page = parse_page(limit, page_token, "asc" if direction is None else direction)
        if page.after is not None and not is_symbol(page.after):
            raise foreign_token()
        rows = await queries.list_positions(
            pool, caller.user_id, after=page.after, descending=page.descending, limit=page.rows_to_read
        )
        shown, token = page.cut(rows, itemgetter("symbol"))
        return PositionPage([position_view(row) for row in shown], token)

    @get(
        "/portfolio",
        summary="Everything at one moment",
        operation_class=Described,
        responses=answers(PortfolioView, READ, s200="cash and positions, all of one moment"),
    )
    async def portfolio(self, caller: NamedDependency[Caller], pool: NamedDependency[Pool]) -> PortfolioView:
        cash, as_of, rows = await queries.read_portfolio(pool, caller.user_id)
        value = sum(_market_value(row) or 0 for row in rows)
        return PortfolioView(
            cash=format_micros(cash),
            positions_value=format_micros(value),
            equity=format_micros(cash + value),
            positions=[position_view(row) for row in rows],
            as_of=format_time(as_of),
        )

    @post(
        "/share-transfers",
        summary="Bring shares from another broker",
        operation_class=_TransferBody,
        responses=answers(TransferView, WRITE, s201="the transfer, accepted or pending"),
    )
    async def share_transfer(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        batcher: NamedDependency[Batcher],
        idempotency: IdempotencyKey = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        check_content_type(request.headers.get("content-type"))
        return as_response(await transfer_shares(batcher, caller, key, await request.body()))

    @get(
        "/share-transfers",
        operation_id="list_share_transfers",
        summary="Shares brought from other brokers, and how each transfer stands",
        operation_class=Described,
        responses=answers(TransferPage, LIST, s200="a page of transfers, newest first"),
    )
    async def share_transfers(
        self,
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
    ) -> TransferPage:
        return await read_transfers(pool, caller.user_id, parse_page(limit, page_token, direction))

    @get(
        "/share-transfers/{transfer_id:str}",
        operation_id="get_share_transfer",
        summary="A transfer, and how it stands",
        operation_class=Described,
        responses=answers(TransferState, READ, s200="the transfer"),
    )
    async def share_transfer_state(
        self, transfer_id: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> TransferState:
        return await read_transfer(pool, caller.user_id, transfer_id)

    @get(
        "/symbols/{symbol:str}",
        summary="A symbol and its reference price",
        operation_class=Described,
        responses=answers(SymbolView, READ, s200="the symbol"),
    )
    async def symbol(
        self, symbol: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> SymbolView:
        row = await queries.find_symbol(pool, symbol) if is_symbol(symbol) else None
        if row is None:
            raise Problem(404, "UNKNOWN_SYMBOL", "no such symbol")
        price, at = row["reference_px_micros"], row["reference_at"]
        return SymbolView(
            symbol=row["symbol"],
            tradable=row["tradable"],
            reference_price=None if price is None else format_micros(price),
            as_of=None if at is None else format_time(at),
        )
