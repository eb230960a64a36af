"""`/v1/orders` for customers: commands, lists, and one order by any of its names."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar, NoReturn

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Schema
from litestar.params import FromPath, FromQuery

from cell import errors
from cell.caller import Caller, idempotency_key, is_visible_ascii
from cell.commands.batcher import Batcher
from cell.commands.command import CommandKind
from cell.endpoint import IdempotencyKey, IfMatch, as_response
from cell.fields import parse_symbol
from cell.moment import parse_moment
from cell.openapi import LIST, READ, WRITE, Described, answers, text
from cell.orders import queries
from cell.orders.cancel import cancel_named_order
from cell.orders.controllers.bodies import PLACING, PREVIEWING, REPLACING
from cell.orders.preview import Preview, preview_order
from cell.orders.replace import replace_order
from cell.orders.schemas import OrderView, order_view, parse_order_id
from cell.orders.status import CLOSED, OPEN, OrderStatus
from cell.paging import parse_page, view_rows
from infra.runtime.database import Pool
from infra.runtime.strict_body import check_content_type


class OrderPage(msgspec.Struct):
    items: list[OrderView]
    next_page_token: str | None


def _statuses(value: str | None) -> list[str] | None:
    if value is None:
        return None
    if value == "open":
        return sorted(OPEN)
    if value == "closed":
        return sorted(CLOSED)
    if value not in set(OrderStatus):
        allowed = ["open", "closed", *sorted(OrderStatus)]
        raise errors.invalid_field(422, "status", "open, closed, or a state of an order", allowed=allowed)
    return [value]


def _shown(row: queries.Row | None) -> Response[OrderView]:
    if row is None:
        raise errors.order_not_found()
    view = order_view(row)
    return Response(view, headers={"ETag": view.etag})


@dataclass
class _Listed(Described):
    own_parameters: ClassVar[Mapping[str, Schema]] = {
        "status": text("open, closed, or one state", choices=("open", "closed", *OrderStatus))
    }


def _served_by_the_port() -> NoReturn:
    """Two operations stand here for the document and for `Allow`; every spelling of their paths is served before."""
    raise AssertionError("CustomerPort serves this")


class OrderController(Controller):
    path = "/v1/orders"
    tags = ("orders",)

    @post(
        "/",
        summary="Place an order",
        description="201 means durable: the order is in the books and its funds are held.",
        operation_class=PLACING,
        responses=answers(OrderView, WRITE, s201="the order as accepted; an acknowledgement, never a fill"),
    )
    async def place(self, idempotency: IdempotencyKey = None) -> Response[bytes]:
        _served_by_the_port()

    @post(
        "/preview",
        status_code=200,
        summary="What would come of an order",
        description="The rules of placing, and nothing stays. An estimate at this moment: it waits for nothing.",
        operation_class=PREVIEWING,
        responses=answers(Preview, WRITE, s200="the verdict, the hold and the estimated cost"),
    )
    async def preview(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        batcher: NamedDependency[Batcher],
    ) -> Response[bytes]:
        check_content_type(request.headers.get("content-type"))
        placing = batcher.procedure(CommandKind.PLACE)
        return as_response(await preview_order(pool, placing, caller, await request.body()))

    @delete(
        "/{order_id:str}",
        status_code=202,
        operation_id="cancel_order",
        summary="Cancel an order",
        description="202 pending_cancel until the venue confirms; 200 if the venue never saw it.",
        operation_class=Described,
        responses=answers(
            OrderView, (*READ, 409, 422), s202="the order, pending_cancel", s200="the order, cancelled at once"
        ),
    )
    async def cancel(self, order_id: FromPath[str], idempotency: IdempotencyKey = None) -> Response[bytes]:
        _served_by_the_port()

    @delete(
        "/by-client-order-id/{client_order_id:str}",
        status_code=202,
        summary="Cancel an order by the customer's own name for it",
        description="As by its id. A name stays with its order: of one that was replaced, 409 with `order_status`.",
        operation_class=Described,
        responses=answers(
            OrderView, (*READ, 409, 422), s202="the order, pending_cancel", s200="the order, cancelled at once"
        ),
    )
    async def cancel_by_client_order_id(
        self,
        client_order_id: FromPath[str],
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        batcher: NamedDependency[Batcher],
        idempotency: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Raises 404 ORDER_NOT_FOUND, and what cancelling raises."""
        key = idempotency_key(idempotency)
        if not is_visible_ascii(client_order_id):
            raise errors.order_not_found()
        return as_response(await cancel_named_order(batcher, pool, caller, key, client_order_id))

    @patch(
        "/{order_id:str}",
        status_code=202,
        operation_id="replace_order",
        summary="Replace an order by a new one",
        description="If-Match names the version seen, or several. qty is the order's whole, what has filled included; "
        "the new order begins with what is left of it, under the client_order_id that is given here, if any. "
        "202: the new order, pending_replace until the venue confirms.",
        operation_class=REPLACING,
        responses=answers(OrderView, (*WRITE, 409, 412), s202="the new order: pending_replace, or live at once"),
    )
    async def replace(
        self,
        request: Request[Any, Any, Any],
        order_id: FromPath[str],
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        batcher: NamedDependency[Batcher],
        idempotency: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        check_content_type(request.headers.get("content-type"))
        body = await request.body()
        answer = await replace_order(batcher, pool, caller, key, parse_order_id(order_id), if_match, body)
        return as_response(answer)

    @get(
        "/",
        summary="List orders, newest first",
        operation_class=_Listed,
        responses=answers(OrderPage, LIST, s200="a page of orders"),
    )
    async def list_orders(
        self,
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        status: FromQuery[str | None] = None,
        symbol: FromQuery[str | None] = None,
        side: FromQuery[str | None] = None,
        after: FromQuery[str | None] = None,
        until: FromQuery[str | None] = None,
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
    ) -> OrderPage:
        """Raises 422 INVALID_FIELD for a filter that cannot be meant."""
        page = parse_page(limit, page_token, direction)
        if side not in (None, "buy", "sell"):
            raise errors.invalid_field(422, "side", "buy or sell", allowed=["buy", "sell"])
        rows = await queries.list_orders(
            pool,
            caller.user_id,
            statuses=_statuses(status),
            symbol=None if symbol is None else parse_symbol(symbol),
            side=side,
            since=None if after is None else parse_moment("after", after),
            until=None if until is None else parse_moment("until", until),
            after_id=page.after_id(),
            descending=page.descending,
            limit=page.rows_to_read,
        )
        shown, token = page.cut(rows, itemgetter("order_id"))
        return OrderPage(await view_rows(shown, order_view), token)

    @get(
        "/{order_id:str}",
        operation_id="get_order",
        summary="One order",
        operation_class=Described,
        responses=answers(OrderView, READ, s200="the order; its etag is in the header ETag as well"),
    )
    async def get_order(
        self, order_id: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> Response[OrderView]:
        return _shown(await queries.find_order(pool, caller.user_id, parse_order_id(order_id)))

    @get(
        "/by-client-order-id/{client_order_id:str}",
        summary="One order by the customer's own name for it",
        operation_class=Described,
        responses=answers(OrderView, READ, s200="the order"),
    )
    async def get_by_client_order_id(
        self, client_order_id: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> Response[OrderView]:
        is_possible = is_visible_ascii(client_order_id)
        return _shown(
            await queries.find_by_client_order_id(pool, caller.user_id, client_order_id) if is_possible else None
        )

    @get(
        "/by-venue-order-id/{venue_order_id:str}",
        summary="One order by the venue's name for it",
        operation_class=Described,
        responses=answers(OrderView, READ, s200="the order"),
    )
    async def get_by_venue_order_id(
        self, venue_order_id: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> Response[OrderView]:
        is_possible = is_visible_ascii(venue_order_id)
        return _shown(
            await queries.find_by_venue_order_id(pool, caller.user_id, venue_order_id) if is_possible else None
        )
