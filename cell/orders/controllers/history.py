"""`/v1/orders/{order_id}/...`: the states that an order has been in, and its executions."""

from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell import errors
from cell.caller import Caller, Moment, format_time
from cell.money import Amount, format_micros
from cell.openapi import (
    LIST,
    Described,
    answers,
)
from cell.orders import queries
from cell.orders.schemas import parse_order_id
from cell.paging import foreign_token, parse_page, view_rows
from infra.runtime.database import Pool


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
    """The venue's time."""
    recorded_at: Moment
    """When the cell wrote it down: in this order they are listed."""
    kind: str
    """`fill`, or `bust` or `correct`: it takes back the execution that exec_ref_id names."""
    exec_ref_id: str | None


class ExecutionPage(msgspec.Struct):
    items: list[Execution]
    next_page_token: str | None


def _execution_key(row: queries.Row) -> str:
    return f"{row['entry_seq']} {row['recorded_at'].isoformat()} {row['exec_id']}"


def _after_execution(page_after: str | None) -> tuple[int, datetime, str] | None:
    if page_after is None:
        return None
    try:
        seq, at, exec_id = page_after.split(" ", 2)
        # eighteen digits fit a bigint, whatever they are
        if not seq.isascii() or not seq.isdigit() or len(seq) > 18 or "\0" in exec_id:
            raise ValueError(page_after)
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError(page_after)
    except ValueError as error:
        raise foreign_token() from error
    return int(seq), moment, exec_id


def _event_view(row: Mapping[str, Any]) -> OrderEvent:
    return OrderEvent(row["seq"], row["from_status"], row["to_status"], row["reason"], format_time(row["at"]))


def _execution_view(row: Mapping[str, Any]) -> Execution:
    return Execution(
        row["exec_id"],
        format_micros(row["last_qty_micros"]),
        format_micros(row["last_px_micros"]),
        row["venue"],
        format_time(row["at"]),
        format_time(row["recorded_at"]),
        row["kind"],
        row["ref_exec_id"],
    )


class OrderHistory(Controller):
    path = "/v1/orders"
    tags = ("orders",)

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
        """Raises 404 ORDER_NOT_FOUND; a page behind the last is empty."""
        page = parse_page(limit, page_token, direction)
        identifier = parse_order_id(order_id)
        rows = await queries.list_events(
            pool,
            caller.user_id,
            identifier,
            after=page.after_number(),
            descending=page.descending,
            limit=page.rows_to_read,
        )
        if not rows and page.after is None:
            raise errors.order_not_found()
        shown, token = page.cut(rows, itemgetter("seq"))
        return OrderEventPage(await view_rows(shown, _event_view), token)

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
        """Raises 404 ORDER_NOT_FOUND for an order that the customer does not have; one without fills has an empty
        page."""
        page = parse_page(limit, page_token, direction)
        identifier = parse_order_id(order_id)
        rows = await queries.list_executions(
            pool,
            caller.user_id,
            identifier,
            after=_after_execution(page.after),
            descending=page.descending,
            limit=page.rows_to_read,
        )
        if not rows and await queries.find_order(pool, caller.user_id, identifier) is None:
            raise errors.order_not_found()
        shown, token = page.cut(rows, _execution_key)
        return ExecutionPage(await view_rows(shown, _execution_view), token)
