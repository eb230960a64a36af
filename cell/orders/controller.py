"""`/v1/orders` for customers."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Schema
from litestar.params import FromPath, FromQuery

from cell import errors
from cell.caller import Answer, Caller, Moment, check_content_type, format_time, idempotency_key, is_visible_ascii
from cell.controller import (
    CLIENT_ORDER_ID,
    LIST,
    READ,
    SYMBOL,
    WRITE,
    Described,
    IdempotencyKey,
    IfMatch,
    amount,
    answers,
    as_response,
    has,
    has_not,
    json_body,
    or_null,
    price,
    text,
)
from cell.money import AMOUNT_MAX_MICROS, MICROS, Amount, format_micros
from cell.orders import queries
from cell.orders.batcher import Batcher, CommandKind
from cell.orders.cancel import cancel_named_order, cancel_order
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
    at: Moment


class OrderEventPage(msgspec.Struct):
    items: list[OrderEvent]
    next_page_token: str | None


class Execution(msgspec.Struct):
    exec_id: str
    last_qty: Amount
    last_px: Amount
    venue: str
    at: Moment
    kind: str
    """`fill`, or `bust` or `correct`: it takes back the execution that exec_ref_id names."""
    exec_ref_id: str | None


class ExecutionPage(msgspec.Struct):
    items: list[Execution]
    next_page_token: str | None


_UUID_CHARS: Final = 36


def parse_order_id(text: str) -> UUID:
    """An order id from a path; what is no UUID in its usual spelling is nobody's order."""
    try:
        if len(text) != _UUID_CHARS:
            raise ValueError(text)
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
        at = datetime.fromisoformat(value.upper())  # RFC 3339 takes t and z as well
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


def _seal_execution(row: queries.Row) -> str:
    return seal(f"{row['entry_seq']} {row['at'].isoformat()} {row['exec_id']}")


def _after_execution(page_after: str | None) -> tuple[int, datetime, str] | None:
    if page_after is None:
        return None
    try:
        seq, at, exec_id = page_after.split(" ", 2)
        if not seq.isascii() or not seq.isdigit() or len(seq) > 18 or "\0" in exec_id:
            raise ValueError(page_after)
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError(page_after)
    except ValueError as error:
        raise errors.invalid_field(422, "page_token", "not a token of this list") from error
    return int(seq), moment, exec_id


def _shown(row: queries.Row | None) -> Response[OrderView]:
    if row is None:
        raise errors.order_not_found()
    view = order_view(row)
    return Response(view, headers={"ETag": view.etag})


_TIMES_IN_FORCE: Final = ("day", "gtc", "ioc", "fok")
_ORDER_CALLS: Final = ("get_order", "cancel_order", "replace_order", "list_order_events", "list_executions")


def _typed(kind: str, *shapes: Schema) -> Schema:
    return Schema(all_of=[Schema(properties={"type": text("", choices=(kind,))}), *shapes])


_QTY: Final = Schema(all_of=[has("qty"), has_not("notional")])
_QTY_OR_NOTIONAL: Final = Schema(any_of=[_QTY, Schema(all_of=[has("notional"), has_not("qty")])])
_LIMIT_PRICE: Final = price("limit and stop_limit orders: two decimals from $1, four below")
_PLACE: Final[dict[str, Any]] = {
    "required": {
        "symbol": SYMBOL,
        "side": text("", choices=("buy", "sell")),
        "type": text("", choices=("market", "limit", "stop", "stop_limit")),
    },
    "optional": {
        "qty": or_null(amount("shares, at most six decimals; either this or notional")),
        "notional": or_null(
            amount(
                "dollars to trade for, at least 1; market and limit orders; either this or qty",
                most=AMOUNT_MAX_MICROS // MICROS,
            )
        ),
        "limit_price": or_null(_LIMIT_PRICE),
        "stop_price": or_null(price("stop and stop_limit orders: the last price that triggers them")),
        "time_in_force": text("day if absent", choices=_TIMES_IN_FORCE),
        "client_order_id": or_null(CLIENT_ORDER_ID),
    },
    "shapes": [
        _typed("market", _QTY_OR_NOTIONAL, has_not("limit_price", "stop_price")),
        _typed("limit", _QTY_OR_NOTIONAL, has("limit_price"), has_not("stop_price")),
        _typed("stop", _QTY, has("stop_price"), has_not("limit_price")),
        _typed("stop_limit", _QTY, has("limit_price"), has("stop_price")),
    ],
    "example": {"symbol": "AAPL", "side": "buy", "type": "market", "qty": "1"},
}
_Placing = json_body(**_PLACE, order_calls=_ORDER_CALLS)
_Previewing = json_body(**_PLACE)
_Replacing = json_body(
    {},
    {
        "qty": or_null(amount("the order's whole in shares, what has filled included")),
        "limit_price": or_null(_LIMIT_PRICE),
        "stop_price": or_null(price("stop and stop_limit orders that have not been triggered")),
        "time_in_force": or_null(text("as it is if absent", choices=_TIMES_IN_FORCE)),
        "client_order_id": or_null(CLIENT_ORDER_ID),
    },
    shapes=[has("qty"), has("limit_price"), has("stop_price"), has("time_in_force")],
    example={"qty": "2"},
    order_calls=_ORDER_CALLS,
)


class OrderController(Controller):
    path = "/v1/orders"
    tags = ("orders",)

    @post(
        "/",
        summary="Place an order",
        description="201 means durable: the order is in the books and its funds are held.",
        operation_class=_Placing,
        responses=answers(OrderView, WRITE, s201="the order as accepted; an acknowledgement, never a fill"),
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
        operation_class=_Previewing,
        responses=answers(Preview, WRITE, s200="the verdict, the hold and the estimated cost"),
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
        operation_id="cancel_order",
        summary="Cancel an order",
        description="202 pending_cancel until the venue confirms; 200 if the venue never saw it.",
        operation_class=Described,
        responses=answers(
            OrderView, (*READ, 409, 422), s202="the order, pending_cancel", s200="the order, cancelled at once"
        ),
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
        key = idempotency_key(idempotency)
        if not is_visible_ascii(client_order_id):
            raise errors.order_not_found()
        return as_response(await cancel_named_order(batcher, pool, caller, key, client_order_id))

    @patch(
        "/{order_id:str}",
        status_code=202,
        operation_id="replace_order",
        summary="Replace an order by a new one",
        description="If-Match names the version seen. qty is the order's whole, what has filled included; "
        "the new order begins with what is left of it, under the client_order_id that is given here, if any. "
        "202: the new order, pending_replace until the venue confirms.",
        operation_class=_Replacing,
        responses=answers(OrderView, (*WRITE, 409, 412), s202="the new order: pending_replace, or live at once"),
    )
    async def replace(
        self,
        request: Request[Any, Any, Any],
        order_id: FromPath[str],
        caller: NamedDependency[Caller],
        batcher: NamedDependency[Batcher],
        new_id: NamedDependency[TimeOrderedIds],
        idempotency: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Response[bytes]:
        key = idempotency_key(idempotency)
        check_content_type(request.headers.get("content-type"))
        body = await request.body()
        answer = await replace_order(batcher, new_id, caller, key, parse_order_id(order_id), if_match, body)
        return as_response(answer)

    @get(
        "/",
        summary="List orders, newest first",
        operation_class=Described,
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

    @get(
        "/{order_id:str}/events",
        operation_id="list_order_events",
        summary="Every state the order has been in",
        operation_class=Described,
        responses=answers(OrderEventPage, LIST, s200="a page of steps"),
    )
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

    @get(
        "/{order_id:str}/executions",
        operation_id="list_executions",
        summary="The order's fills",
        operation_class=Described,
        responses=answers(ExecutionPage, LIST, s200="a page of fills"),
    )
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
            after=_after_execution(page.after),
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
        return ExecutionPage(items, _seal_execution(shown[-1]) if len(rows) > page.limit else None)
