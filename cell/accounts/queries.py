"""Reads of one account.

A customer's reads raise 404, 421 and 503 as `check_owner` does, and what the driver raises: `app.py` answers that.
"""

from datetime import date
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from cell.ownership.guard import check_owner
from infra.runtime.database import Pool

_ACCOUNT: LiteralString = """
select u.user_id, u.owner_state, u.restricted, u.profile, u.cash_micros, u.cash_held_micros, u.created_at,
       coalesce((select sum(l.amount_micros) from brokerage.unsettled_lots l
                  where l.user_id = u.user_id and l.settles_on > %s), 0)::bigint as unsettled_micros
  from brokerage.users u
 where u.user_id = %s
"""


async def find_account(pool: Pool, user_id: UUID, today: date) -> dict[str, Any]:
    """Balances of the user. Raises Problem if this cell does not own the user."""
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_ACCOUNT, [today, user_id])
            row = await cursor.fetchone()
        await check_owner(connection, user_id)
    assert row is not None
    return row


OPEN: LiteralString = "select * from open_account_v1(%s, %s, %s, %s, %s, %s)"
START: LiteralString = "select start_session_v1(%s, %s, %s, %s, %s, %s, %s, %s)"
REFRESH: LiteralString = "select outcome, first_used_at from refresh_session_v1(%s, %s, %s, %s, %s)"
ADMIT_LOGIN: LiteralString = "select wait_s, is_stranger from admit_login_v1(%s, %s, %s)"
FAMILY_KEY: LiteralString = "select family_key from brokerage.refresh_families where user_id = %s and family_id = %s"
PASSWORD: LiteralString = "select password_hash from brokerage.customers where user_id = %s"
