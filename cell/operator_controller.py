"""`/operator/v1` on the second port: what operators may see of a cell, and the little they may change."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, post, put
from psycopg.rows import dict_row

from cell import errors
from cell.caller import decode_body, format_time
from cell.ledger.trial_balance import run_trial_balance
from cell.orders.schemas import OrderView, order_view
from cell.paging import parse_page, seal
from infra.runtime.database import Pool
from infra.runtime.problem import Problem

# One statement, one snapshot: the sums belong together.
_SUMMARY: LiteralString = """
select
    (select count(*) from brokerage.users where owner_state in ('active', 'halted')) as users,
    coalesce((select jsonb_object_agg(status, n) from
        (select status, count(*) as n from brokerage.orders group by status) s), '{}') as orders_by_status,
    (select count(*) from brokerage.executions) as executions,
    (select coalesce(sum(cash_micros), 0) from brokerage.users)::text as cash_micros,
    (select coalesce(sum(cash_held_micros), 0) from brokerage.users)::text as cash_held_micros,
    coalesce((select jsonb_object_agg(symbol, n) from
        (select symbol, sum(qty_micros) as n from brokerage.positions group by symbol) s), '{}') as shares,
    coalesce((select jsonb_object_agg(symbol, n) from
        (select symbol, sum(qty_held_micros) as n from brokerage.positions group by symbol) s), '{}') as shares_held,
    (select count(*) from brokerage.users where restricted) as restricted,
    (select count(*) from brokerage.order_events) as order_events,
    (select count(*) from brokerage.journal_entries) as journal_entries,
    (select count(*) from brokerage.outbox) as outbox_pending,
    (select count(*) from brokerage.inbox) as inbox_pending,
    (select count(*) from brokerage.quarantined_reports) as quarantined,
    (select count(*) from brokerage.venue_instructions) as instructions_pending,
    statement_timestamp() as as_of
"""

_USER: LiteralString = """
select user_id, owner_state, epoch, halt_id, lease_ends_at, forward_cell, forward_epoch, profile, restricted,
       cash_micros, cash_held_micros, write_seq, entry_seq, order_event_seq, encode(chain_head, 'hex') as chain_head,
       created_at
  from brokerage.users where user_id = %s
"""

_USER_ORDERS: LiteralString = """
select order_id, client_order_id, symbol, side, type, time_in_force, order_qty_micros, notional_micros, limit_px_micros,
       stop_px_micros, status, cum_qty_micros, cum_cost_micros, held_cash_micros, held_shares_micros, reject_reason,
       replaces, replaced_by, event_seq, created_at, updated_at
  from brokerage.orders
 where user_id = %s and (%s::uuid is null or order_id > %s)
 order by order_id
 limit %s
"""

_QUARANTINE: LiteralString = """
select id, reason, user_id, order_id, venue, session, venue_seq, body, at
  from brokerage.quarantined_reports where id > %s order by id limit %s
"""

_SET_PROFILE: LiteralString = "select brokerage.set_profile_v1(%s, %s)"


class ProfileRequest(msgspec.Struct, forbid_unknown_fields=True):
    profile: str


class OperatorOrder(msgspec.Struct):
    """An order as its customer sees it, and what was posted for it."""

    order: OrderView
    cum_cost_micros: int


class OperatorOrderPage(msgspec.Struct):
    items: list[OperatorOrder]
    next_page_token: str | None


_profile_decoder = msgspec.json.Decoder(ProfileRequest)


async def _one(pool: Pool, sql: LiteralString, parameters: Sequence[Any] = ()) -> dict[str, Any] | None:
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, parameters)
        return await cursor.fetchone()


async def _all(pool: Pool, sql: LiteralString, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, parameters)
        return await cursor.fetchall()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: format_time(value) if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value
        for key, value in row.items()
    }


class OperatorReads(Controller):
    path = "/operator/v1"

    @get("/summary")
    async def summary(self, pool: Pool, cell_name: str) -> dict[str, Any]:
        row = await _one(pool, _SUMMARY)
        assert row is not None
        row["cash_micros"], row["cash_held_micros"] = int(row["cash_micros"]), int(row["cash_held_micros"])
        return {"cell": cell_name, **_plain(row)}

    @post("/checks", status_code=200)
    async def checks(self, pool: Pool, cell_name: str) -> dict[str, Any]:
        async with pool.connection() as connection:
            result = await run_trial_balance(connection)
        return {"cell": cell_name, "healthy": result.healthy, **msgspec.to_builtins(result)}

    @get("/users/{user_id:uuid}")
    async def user(self, user_id: UUID, pool: Pool) -> dict[str, Any]:
        row = await _one(pool, _USER, [user_id])
        if row is None:
            raise errors.user_not_found()
        return _plain(row)

    @get("/users/{user_id:uuid}/orders")
    async def user_orders(
        self, user_id: UUID, pool: Pool, limit: str | None = None, page_token: str | None = None
    ) -> OperatorOrderPage:
        page = parse_page(limit, page_token, "asc")
        try:
            after = None if page.after is None else UUID(page.after)
        except ValueError as error:
            raise errors.invalid_field(422, "page_token", "not a token of this list") from error
        rows = await _all(pool, _USER_ORDERS, [user_id, after, after, page.limit + 1])
        shown = rows[: page.limit]
        token = seal(shown[-1]["order_id"]) if len(rows) > page.limit else None
        return OperatorOrderPage([OperatorOrder(order_view(row), row["cum_cost_micros"]) for row in shown], token)

    @get("/quarantine")
    async def quarantine(self, pool: Pool, limit: str | None = None, page_token: str | None = None) -> dict[str, Any]:
        page = parse_page(limit, page_token, "asc")
        if page.after is not None and not page.after.isdigit():
            raise Problem(422, "INVALID_FIELD", "page_token: not a token of this list", field="page_token")
        rows = await _all(pool, _QUARANTINE, [int(page.after or 0), page.limit + 1])
        shown = rows[: page.limit]
        return {
            "items": [_plain(row) for row in shown],
            "next_page_token": seal(shown[-1]["id"]) if len(rows) > page.limit else None,
        }


class OperatorChanges(Controller):
    path = "/operator/v1"

    @put("/users/{user_id:uuid}/profile")
    async def set_profile(self, request: Request[Any, Any, Any], user_id: UUID, pool: Pool) -> dict[str, Any]:
        body = decode_body(_profile_decoder, await request.body())
        if body.profile not in {"retail", "professional"}:
            raise errors.invalid_field(422, "profile", "retail or professional")
        row = await _one(pool, _SET_PROFILE, [user_id, body.profile])
        if row is None or not row["set_profile_v1"]:
            raise errors.user_not_found()
        return {"user_id": str(user_id), "profile": body.profile}
