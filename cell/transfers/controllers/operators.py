"""An operator sees which transfers of shares wait, and approves or refuses them.

A decision is made once. It names who made it and why, is one transaction with what it posts, and may be repeated; the
other decision is refused then. A customer learns the outcome, never an operator's words.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell import errors
from cell.caller import Moment, format_time
from cell.money import Amount, format_micros
from cell.paging import parse_page
from cell.transfers import queries
from infra.runtime.database import Pool
from infra.runtime.operator_api import reason_of, subject_of
from infra.runtime.problem import Problem
from infra.runtime.procedures import call
from infra.runtime.strict_body import refuse_body


class WaitingTransfer(msgspec.Struct):
    """What an operator decides about."""

    transfer_id: UUID
    user_id: UUID
    symbol: str
    qty: Amount
    unit_cost: Amount
    created_at: Moment


class WaitingPage(msgspec.Struct):
    items: list[WaitingTransfer]
    next_page_token: str | None


class DecidedTransfer(msgspec.Struct):
    """The decision that stands, and whether this call made it."""

    transfer_id: UUID
    user_id: UUID
    status: str
    decided_at: str | None
    decided_by: str | None
    reason: str | None
    changed: bool


class TransferReads(Controller):
    path = "/operator/v1/share-transfers"

    @get("/")
    async def waiting(
        self, pool: NamedDependency[Pool], limit: FromQuery[str | None] = None, page_token: FromQuery[str | None] = None
    ) -> WaitingPage:
        """What waits for a decision, oldest first."""
        page = parse_page(limit, page_token, "asc")
        rows = await queries.list_waiting(pool, after=page.after_id(), limit=page.rows_to_read)
        shown, token = page.cut(rows, itemgetter("transfer_id"))
        return WaitingPage(
            [
                WaitingTransfer(
                    transfer_id=row["transfer_id"],
                    user_id=row["user_id"],
                    symbol=row["symbol"],
                    qty=format_micros(row["qty_micros"]),
                    unit_cost=format_micros(row["unit_cost_micros"]),
                    created_at=format_time(row["at"]),
                )
                for row in shown
            ],
            token,
        )


class TransferDecisions(Controller):
    path = "/operator/v1/users/{user_id:uuid}/share-transfers/{transfer_id:uuid}"

    @post("/approve", status_code=200)
    async def approve(
        self,
        request: Request[Any, Any, Any],
        user_id: FromPath[UUID],
        transfer_id: FromPath[UUID],
        pool: NamedDependency[Pool],
    ) -> DecidedTransfer:
        """The shares are the customer's from now on."""
        return await _decide(request, pool, user_id, transfer_id, approve=True)

    @post("/refuse", status_code=200)
    async def refuse(
        self,
        request: Request[Any, Any, Any],
        user_id: FromPath[UUID],
        transfer_id: FromPath[UUID],
        pool: NamedDependency[Pool],
    ) -> DecidedTransfer:
        """Nothing was posted and nothing will be."""
        return await _decide(request, pool, user_id, transfer_id, approve=False)


async def _decide(
    request: Request[Any, Any, Any], pool: Pool, user_id: UUID, transfer_id: UUID, *, approve: bool
) -> DecidedTransfer:
    await refuse_body(request)
    arguments = [user_id, transfer_id, approve, subject_of(request), reason_of(request)]
    [(outcome, figures)] = await call(pool, queries.DECIDE, arguments)
    if outcome not in ("decided", "ALREADY"):
        raise _refusal(outcome, figures or {})
    return DecidedTransfer(
        transfer_id=transfer_id,
        user_id=user_id,
        status=figures["status"],
        decided_at=figures["decided_at"],
        decided_by=figures["decided_by"],
        reason=figures["reason"],
        changed=outcome == "decided",
    )


def _refusal(outcome: str, figures: Mapping[str, Any]) -> Problem:
    match outcome:
        case "TRANSFER_NOT_FOUND":
            return errors.transfer_not_found()
        case "TRANSFER_DECIDED":
            return errors.transfer_decided(figures["status"], figures["decided_at"])
    return errors.not_owned(outcome, figures) or errors.refusal(outcome, figures)
