"""`/v1/orders` for customers."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell import errors
from cell.caller import Answer, Caller, check_content_type, format_time, idempotency_key, is_visible_ascii
from cell.controller import IdempotencyKey, amount, answers, as_response, json_body, text
from cell.money import format_micros
from cell.orders import queries
from cell.orders.batcher import Batcher, CommandKind
from cell.orders.cancel import cancel_order
from cell.orders.place import place_order
from cell.orders.preview import Preview, preview_order
from cell.orders.replace import replace_order
from cell.orders.schemas import OrderView, order_view, parse_symbol
from cell.orders.status import CLOSED, OPEN, OrderStatus
from cell.paging import parse_page, seal
from infra.runtime.clock import Clock, TimeOrderedIds
from infra.runtime.database import Pool


class OrderPage(msgspec.Struct):
    items: list[OrderView]
    next_page_token: str | None


class OrderEvent(msgspec.Struct, rename={"from_status": "from", "to_status": "to"}):
    seq: int
    from_status: str | None
    to_status: str
    reason: str | None
    at: str


class OrderEventPage(msgspec.Struct):
    items: list[OrderEvent]
    next_page_token: str | None


class Execution(msgspec.Struct):
    exec_id: str
    last_qty: str
    last_px: str
    venue: str
    at: str
    kind: str
    """`fill`, or `bust` or `correct`: it takes back the execution that exec_ref_id names."""
    exec_ref_id: str | None


class ExecutionPage(msgspec.Struct):
    items: list[Execution]
    next_page_token: str | None


def parse_order_id(text: str) -> UUID:
    """An order id from a path; what is no UUID is nobody's order."""
    try:
        return UUID(text)
    except ValueError as error:
        raise errors.order_not_found() from error


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


def _moment(field: str, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise errors.invalid_field(422, field, "a time as in RFC 3339") from error
    if at.tzinfo is None:
        raise errors.invalid_field(422, field, "needs a time zone, such as Z")
    return at


def _after_id(page_after: str | None) -> UUID | None:
    try:
        return None if page_after is None else UUID(page_after)
    except ValueError as error:
        raise errors.invalid_field(422, "page_token", "not a token of this list") from error


_PlaceBody = json_body(
    {
        "symbol": text("as in /v1/symbols"),
        "side": text("", choices=("buy", "sell")),
        "type": text("", choices=("market", "limit", "stop", "stop_limit")),
    },
    {
        "qty": amount("shares, at most six decimals; either this or notional"),
        "notional": amount("dollars to trade for, at least 1; market and limit orders; either this or qty"),
        "limit_price": amount("limit and stop_limit orders: two decimals from $1, four below"),
        "stop_price": amount("stop and stop_limit orders: the last price that triggers them"),
        "time_in_force": text("day if absent", choices=("day", "gtc", "ioc", "fok")),
        "client_order_id": text("your own name for the order, unique for ever, 1 to 128 visible ASCII characters"),
    },
)

_ReplaceBody = json_body(
    {},
    {
        "qty": amount("the order's whole in shares, what has filled included"),
        "limit_price": amount("limit and stop_limit orders: two decimals from $1, four below"),
        "stop_price": amount("stop and stop_limit orders that have not been triggered"),
        "time_in_force": text("as it is if absent", choices=("day", "gtc", "ioc", "fok")),
    },
)


class OrderController(Controller):
    path = "/v1/orders"
    tags = ("orders",)

    @post(
        "/",
        summary="Place an order",
        description="201 means durable: the order is in the books and its funds are held.",
        operation_class=_PlaceBody,
        responses=answers(OrderView, s201="the order as accepted; an acknowledgement, never a fill"),
    )
    async def place(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        batcher: NamedDependency[Batcher],
        new_id: NamedDependency[TimeOrderedIds],
        idempotency: IdempotencyKey = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        check_content_type(request.headers.get("content-type"))
        answer: Answer = await place_order(batcher, new_id, caller, key, await request.body())
        return as_response(answer)

    @post(
        "/preview",
        status_code=200,
        summary="What would come of an order",
        description="The order is placed and undone: the same rules, and nothing stays.",
        operation_class=_PlaceBody,
        responses=answers(Preview, s200="the verdict, the hold and the estimated cost"),
    )
    async def preview(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        clock: NamedDependency[Clock],
        new_id: NamedDependency[TimeOrderedIds],
        batcher: NamedDependency[Batcher],
    ) -> Response[bytes]:
        check_content_type(request.headers.get("content-type"))
        placing = batcher.procedure(CommandKind.PLACE)
        return as_response(await preview_order(pool, placing, clock, new_id, caller, await request.body()))

    @delete(
        "/{order_id:str}",
        status_code=202,
        summary="Cancel an order",
        description="202 pending_cancel until the venue confirms; 200 if the venue never saw it.",
        responses=answers(OrderView, s202="the order, pending_cancel", s200="the order, cancelled at once"),
    )
    async def cancel(
        self,
        order_id: FromPath[str],
        caller: NamedDependency[Caller],
        batcher: NamedDependency[Batcher],
        idempotency: IdempotencyKey = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        return as_response(await cancel_order(batcher, caller, key, parse_order_id(order_id)))

    @patch(
        "/{order_id:str}",
        status_code=202,
        summary="Replace an order by a new one",
        description="If-Match names the version seen. qty is the order's whole, what has filled included; "
        "the new order begins with what is left of it. 202: the new order, pending_replace until the venue confirms.",
        operation_class=_ReplaceBody,
        responses=answers(OrderView, s202="the new order: pending_replace, or live at once"),
    )
    async def replace(
        self,
        request: Request[Any, Any, Any],
        order_id: FromPath[str],
        caller: NamedDependency[Caller],
        batcher: NamedDependency[Batcher],
        new_id: NamedDependency[TimeOrderedIds],
        idempotency: IdempotencyKey = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        check_content_type(request.headers.get("content-type"))
        if_match = request.headers.get("if-match")
        body = await request.body()
        answer = await replace_order(batcher, new_id, caller, key, parse_order_id(order_id), if_match, body)
        return as_response(answer)

    @get("/", summary="List orders, newest first")
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
        page = parse_page(limit, page_token, direction)
        if side not in (None, "buy", "sell"):
            raise errors.invalid_field(422, "side", "buy or sell", allowed=["buy", "sell"])
        rows = await queries.list_orders(
            pool,
            caller.user_id,
            statuses=_statuses(status),
            symbol=None if symbol is None else parse_symbol(symbol),
            side=side,
            since=_moment("after", after),
            until=_moment("until", until),
            after_id=_after_id(page.after),
            descending=page.descending,
            limit=page.limit + 1,
        )
        shown = rows[: page.limit]
        token = seal(shown[-1]["order_id"]) if len(rows) > page.limit else None
        return OrderPage([order_view(row) for row in shown], token)

    @get("/{order_id:str}", summary="One order")
    async def get_order(
        self, order_id: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> Response[OrderView]:
        row = await queries.find_order(pool, caller.user_id, parse_order_id(order_id))
        if row is None:
            raise errors.order_not_found()
        view = order_view(row)
        return Response(view, headers={"ETag": view.etag})

    @get("/by-client-order-id/{client_order_id:str}", summary="One order by the customer's own name for it")
    async def get_by_client_order_id(
        self, client_order_id: FromPath[str], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
    ) -> Response[OrderView]:
        is_possible = is_visible_ascii(client_order_id)
        row = await queries.find_by_client_order_id(pool, caller.user_id, client_order_id) if is_possible else None
        if row is None:
            raise errors.order_not_found()
        view = order_view(row)
        return Response(view, headers={"ETag": view.etag})

    @get("/{order_id:str}/events", summary="Every state the order has been in")
    async def events(
        self,
        order_id: FromPath[str],
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
    ) -> OrderEventPage:
        page = parse_page(limit, page_token, direction)
        identifier = parse_order_id(order_id)
        rows = await queries.list_events(
            pool,
            caller.user_id,
            identifier,
            after=page.after_number(),
            descending=page.descending,
            limit=page.limit + 1,
        )
        if not rows and page.after is None:
            raise errors.order_not_found()
        shown = rows[: page.limit]
        items = [
            OrderEvent(row["seq"], row["from_status"], row["to_status"], row["reason"], format_time(row["at"]))
            for row in shown
        ]
        return OrderEventPage(items, seal(shown[-1]["seq"]) if len(rows) > page.limit else None)

    @get("/{order_id:str}/executions", summary="The order's fills")
    async def executions(
        self,
        order_id: FromPath[str],
        caller: NamedDependency[Caller],
        pool: NamedDependency[Pool],
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
    ) -> ExecutionPage:
        page = parse_page(limit, page_token, direction)
        identifier = parse_order_id(order_id)
        rows = await queries.list_executions(
            pool,
            caller.user_id,
            identifier,
            after=page.after_number(),
            descending=page.descending,
            limit=page.limit + 1,
        )
        if not rows and await queries.find_order(pool, caller.user_id, identifier) is None:
            raise errors.order_not_found()
        shown = rows[: page.limit]
        items = [
            Execution(
                row["exec_id"],
                format_micros(row["last_qty_micros"]),
                format_micros(row["last_px_micros"]),
                row["venue"],
                format_time(row["at"]),
                row["kind"],
                row["ref_exec_id"],
            )
            for row in shown
        ]
        return ExecutionPage(items, seal(shown[-1]["entry_seq"]) if len(rows) > page.limit else None)
