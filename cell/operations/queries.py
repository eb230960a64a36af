"""Reads of a whole cell for its operators. Sums that belong together come from one statement, so from one snapshot.

They raise what the driver raises: `app.py` answers that.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg.rows import dict_row

from infra.runtime.database import Pool

SUMMARY: LiteralString = """
select
    (select count(*) from brokerage.users where owner_state in ('active', 'halted')) as users,
    coalesce((select jsonb_object_agg(status, n) from
        (select status, count(*) as n from brokerage.orders group by status) s), '{}') as orders_by_status,
    (select count(*) from all_executions) as executions,
    (select coalesce(sum(cash_micros), 0) from brokerage.users)::text as cash_micros,
    (select coalesce(sum(cash_held_micros), 0) from brokerage.users)::text as cash_held_micros,
    coalesce((select jsonb_object_agg(symbol, n) from
        (select symbol, sum(qty_micros) as n from brokerage.positions group by symbol) s), '{}') as shares,
    coalesce((select jsonb_object_agg(symbol, n) from
        (select symbol, sum(qty_held_micros) as n from brokerage.positions group by symbol) s), '{}') as shares_held,
    (select count(*) from brokerage.users where restricted) as restricted,
    -- of users who moved, those that this cell publishes
    (select count(*) from all_order_events) - (select coalesce(sum(events), 0)::bigint from streams_elsewhere
                                                where stream = 'orders') as order_events,
    (select count(*) from all_journal_entries) - (select coalesce(sum(events), 0)::bigint from streams_elsewhere
                                                   where stream = 'ledger') as journal_entries,
    (select count(*) from brokerage.outbox) as outbox_pending,
    (select count(*) from brokerage.inbox) as inbox_pending,
    (select count(*) from brokerage.quarantined_reports) as quarantined,
    (select count(*) from brokerage.early_reports) as reports_early,
    (select count(*) from brokerage.venue_instructions) as instructions_pending,
    (select count(distinct order_id) from brokerage.venue_instructions where stuck_at is not null) as orders_stuck,
    (select jsonb_build_object('run_id', run_id, 'ended_at', ended_at, 'verdict', verdict)
       from brokerage.reconciliations order by run_id desc limit 1) as last_reconciliation,
    snapshot_time_v1() as as_of
"""

USER: LiteralString = """
select user_id, owner_state, epoch, halt_id, lease_ends_at, forward_cell, forward_epoch, profile, restricted,
       cash_micros, cash_held_micros, write_seq, entry_seq, order_event_seq, encode(chain_head, 'hex') as chain_head,
       created_at,
       (select to_jsonb(l) - 'profile' from brokerage.risk_profiles l where l.profile = users.profile) as limits,
       (select coalesce(jsonb_agg(to_jsonb(a) order by a.at desc), '[]') from (
            select at, actor, act, reason, details from brokerage.privileged_acts p where p.user_id = users.user_id
            union all
            select at, actor, 'lift_restriction', reason, '{}' from brokerage.lifted_restrictions r
             where r.user_id = users.user_id
            order by at desc limit 20) a) as acts
  from brokerage.users where user_id = %s
"""

QUARANTINE: LiteralString = """
select id, reason, user_id, order_id, venue, session, venue_seq, body, at
  from brokerage.quarantined_reports where id > %s order by id limit %s
"""

EARLY_REPORTS: LiteralString = """
select inbox_id as id, 'waits for ' || waits_for as reason, user_id, order_id, venue, session, venue_seq,
       body, received_at as at, waits_until
  from brokerage.early_reports where inbox_id > %s order by inbox_id limit %s
"""

RETRY_REPORT: LiteralString = "select inbox_id, order_id from retry_report_v1(%s, %s, %s, %s)"
LIFT_RESTRICTION: LiteralString = "select outcome, figures from lift_restriction_v1(%s, %s, %s)"

SET_PROFILE: LiteralString = "select set_profile_v1(%s, %s, %s, %s)"
END_SESSIONS: LiteralString = "select end_refresh_families_v1(%s, %s, %s, %s, %s)"


async def read_one(pool: Pool, sql: LiteralString, parameters: Sequence[Any] = ()) -> dict[str, Any] | None:
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, parameters)
        return await cursor.fetchone()


async def read_all(pool: Pool, sql: LiteralString, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, parameters)
        return await cursor.fetchall()
