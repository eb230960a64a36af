"""Transfers of shares: what customers read of their own, what waits for an operator, and an operator's decision.

Customers' reads raise 404, 421 and 503 as `check_owner` does; all raise what the driver raises, which `app.py` answers.
"""

from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from cell.ownership.guard import check_owner
from infra.runtime.database import Pool

_COLUMNS: LiteralString = "transfer_id, symbol, qty_micros, unit_cost_micros, status, at, decided_at"

_DESCENDING: LiteralString = f"""
select {_COLUMNS} from brokerage.share_transfers
 where user_id = %s and (%s::uuid is null or transfer_id < %s)
 order by transfer_id desc
 limit %s
"""

_ASCENDING: LiteralString = f"""
select {_COLUMNS} from brokerage.share_transfers
 where user_id = %s and (%s::uuid is null or transfer_id > %s)
 order by transfer_id
 limit %s
"""

_ONE: LiteralString = f"select {_COLUMNS} from brokerage.share_transfers where user_id = %s and transfer_id = %s"

# A copy of a user who arrives or has left is not ours to decide about.
WAITING: LiteralString = """
select t.transfer_id, t.user_id, t.symbol, t.qty_micros, t.unit_cost_micros, t.status, t.at
  from brokerage.share_transfers t
  join brokerage.users u on u.user_id = t.user_id and u.owner_state in ('active', 'halted')
 where t.status = 'pending' and (%s::uuid is null or t.transfer_id > %s)
 order by t.transfer_id
 limit %s
"""

DECIDE: LiteralString = "select outcome, figures from decide_share_transfer_v1(%s, %s, %s, %s, %s)"


async def list_transfers(
    pool: Pool, user_id: UUID, *, after: UUID | None, descending: bool, limit: int
) -> list[dict[str, Any]]:
    """The customer's transfers beyond `after`, by id, and so by time. Raises Problem."""
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_DESCENDING if descending else _ASCENDING, [user_id, after, after, limit])
            rows = await cursor.fetchall()
        await check_owner(connection, user_id)
    return rows


async def find_transfer(pool: Pool, user_id: UUID, transfer_id: UUID) -> dict[str, Any] | None:
    """One of the customer's own transfers. Raises Problem."""
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_ONE, [user_id, transfer_id])
            row = await cursor.fetchone()
        await check_owner(connection, user_id)
    return row


async def list_waiting(pool: Pool, *, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """What waits for a decision in this cell, oldest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(WAITING, [after, after, limit])
        return await cursor.fetchall()
