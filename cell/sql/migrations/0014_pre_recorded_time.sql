-- The time at which something is recorded is the database's, taken under the user's lock, and never goes back for him.
-- Lock: `users` and `executions` exclusively until the end: nobody trades for as long as it takes to read every history
-- once (about a second per million rows), so that nobody's next time precedes what he has.
-- Undo: drop the view of the newest times and the three columns, recreate `all_executions` as in 0013.

set local search_path = brokerage;
set local lock_timeout = '10s';

alter table users
    -- of the newest thing that was recorded of the user; his next write is recorded later than that, whatever a clock says
    add column recorded_at timestamptz not null default 'epoch',
    -- Up to here his history was recorded by the clocks of several processes, before the lock, and may run backwards.
    -- Null: none of it.
    add column recorded_since timestamptz;

-- When the execution was recorded; `at` is the venue's time. Null: before this was kept.
alter table executions add column recorded_at timestamptz;
alter table archive.executions add column recorded_at timestamptz;
create or replace view all_executions as
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros, last_px_micros,
           cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros,
           settles_on, owed_micros, stands_qty_micros, stands_px_micros, recorded_at
      from executions
    union all
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros, last_px_micros,
           cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros,
           settles_on, owed_micros, stands_qty_micros, stands_px_micros, recorded_at
      from archive.executions;

-- For this migration and the next, which drops it. An order's id holds the time at which a process made it, to the
-- millisecond; the next one must be greater.
create view newest_times as
    select user_id, max(at) as at from (
        select user_id, greatest(created_at, updated_at, uuid_extract_timestamp(order_id) + interval '1 millisecond') as at from orders
        union all select user_id, at from all_order_events
        union all select user_id, occurred_at from all_journal_entries
        union all select user_id, occurred_at from outbox
        union all select user_id, at from deposits
        union all select user_id, at from share_transfers
        union all select user_id, at from lifted_restrictions
        union all select user_id, at from idempotency_keys
        union all select user_id, created_at from users
    ) recorded group by user_id;
update users u set recorded_at = n.at, recorded_since = n.at from newest_times n where n.user_id = u.user_id;
