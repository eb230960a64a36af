"""How a customer's transfers of shares stand, as the customer may read it."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec

from cell import errors
from cell.caller import Moment, format_time
from cell.money import Amount, format_micros
from cell.paging import Page
from cell.transfers import queries
from infra.runtime.database import Pool


class TransferState(msgspec.Struct):
    """How a transfer stands: `pending`, `accepted` or `refused`."""

    transfer_id: UUID
    symbol: str
    qty: Amount
    unit_cost: Amount
    status: str
    created_at: Moment
    decided_at: Moment | None
    """When an operator decided; null while it waits, and for one that was accepted at once."""


class TransferPage(msgspec.Struct):
    items: list[TransferState]
    next_page_token: str | None


async def read_transfers(pool: Pool, user_id: UUID, page: Page) -> TransferPage:
    """A page of the customer's transfers."""
    rows = await queries.list_transfers(
        pool, user_id, after=page.after_id(), descending=page.descending, limit=page.rows_to_read
    )
    shown, token = page.cut(rows, itemgetter("transfer_id"))
    return TransferPage([_state(row) for row in shown], token)


async def read_transfer(pool: Pool, user_id: UUID, transfer_id: str) -> TransferState:
    """One of them. Raises Problem 404."""
    row = await queries.find_transfer(pool, user_id, _parse_id(transfer_id))
    if row is None:
        raise errors.transfer_not_found()
    return _state(row)


def _parse_id(text: str) -> UUID:
    """An id from a path; what is no UUID in its usual spelling is nobody's transfer."""
    try:
        found = UUID(text)
    except ValueError as error:
        raise errors.transfer_not_found() from error
    if str(found) != text.lower():
        raise errors.transfer_not_found()
    return found


def _state(row: Mapping[str, Any]) -> TransferState:
    decided_at = row["decided_at"]
    return TransferState(
        transfer_id=row["transfer_id"],
        symbol=row["symbol"],
        qty=format_micros(row["qty_micros"]),
        unit_cost=format_micros(row["unit_cost_micros"]),
        status=row["status"],
        created_at=format_time(row["at"]),
        decided_at=None if decided_at is None else format_time(decided_at),
    )
