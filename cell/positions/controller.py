"""`/v1/positions`, `/v1/portfolio`, `/v1/symbols`."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell.caller import Caller, Moment, format_time
from cell.fields import is_symbol
from cell.money import (
    Amount,
    average_micros,
    format_micros,
    value_micros,
)
from cell.openapi import LIST, READ, Described, answers
from cell.paging import foreign_token, parse_page
from cell.positions import queries
from infra.runtime.database import Pool
from infra.runtime.problem import Problem


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


class PositionController(Controller):
    path = "/v1"
    tags = ("positions",)

    @get(
        "/positions",
        summary="What the customer owns, by symbol",
        description="By symbol, so a page token does not meet what is bought behind it: read the list again, or follow"
        " `/v1/ledger`, whose tokens miss nothing.",
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
        """Raises 422 for a page token of another list."""
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

    @get(
        "/symbols/{symbol:str}",
        summary="A symbol and its reference price",
        operation_class=Described,
        responses=answers(SymbolView, READ, s200="the symbol"),
    )
    async def symbol(
        self, symbol: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> SymbolView:
        """Raises 404 UNKNOWN_SYMBOL."""
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
