"""`/operator/v1/users/{user_id}/orders`: one user's orders as operators see them, oldest first."""

from operator import itemgetter
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell.orders import queries
from cell.orders.schemas import OrderView, order_view
from cell.paging import parse_page
from infra.runtime.database import Pool


class OperatorOrder(msgspec.Struct):
    """An order as its customer sees it, and what was posted for it."""

    order: OrderView
    cum_cost_micros: int


class OperatorOrderPage(msgspec.Struct):
    items: list[OperatorOrder]
    next_page_token: str | None


class OperatorOrders(Controller):
    path = "/operator/v1"

    @get("/users/{user_id:uuid}/orders")
    async def user_orders(
        self,
        user_id: FromPath[UUID],
        pool: NamedDependency[Pool],
        limit: FromQuery[str | None] = None,
        page_token: FromQuery[str | None] = None,
    ) -> OperatorOrderPage:
        page = parse_page(limit, page_token, "asc")
        rows = await queries.list_for_operator(pool, user_id, after_id=page.after_id(), limit=page.rows_to_read)
        shown, token = page.cut(rows, itemgetter("order_id"))
        return OperatorOrderPage([OperatorOrder(order_view(row), row["cum_cost_micros"]) for row in shown], token)
