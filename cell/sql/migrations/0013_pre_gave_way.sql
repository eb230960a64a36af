-- Executions that were taken back before there was room for them.
-- Lock: `executions` and its archive exclusively for a moment: columns without a value. Undo: columns and view of 0005; only
-- while no row has a value there: it says that the row counts for less than it tells.

set local search_path = brokerage;
set local lock_timeout = '10s';

-- What of a row counts, where that is not what it tells: it had no room in its order and gave way to its bust or correction,
-- which was known already. So of a fill nothing counts, of a correction what counted of the execution that it takes back.
-- Null: all of it. Money: cost_micros and the changes of such a row are 0, basis_micros and owed_micros those of what counts.
alter table executions
    add column stands_qty_micros bigint,
    add column stands_px_micros bigint,
    -- of what comes: the rows that are here have no value, and are not read for it
    add constraint executions_stands check (num_nulls(stands_qty_micros, stands_px_micros) = 2
        or stands_qty_micros >= 0 and stands_px_micros > 0 and num_nulls(stands_qty_micros, stands_px_micros) = 0 and kind <> 'bust')
        not valid;
alter table archive.executions
    add column stands_qty_micros bigint,
    add column stands_px_micros bigint;

create or replace view all_executions as
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros, last_px_micros,
           cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros,
           settles_on, owed_micros, stands_qty_micros, stands_px_micros
      from executions
    union all
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros, last_px_micros,
           cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date, qty_change_micros, basis_change_micros,
           settles_on, owed_micros, stands_qty_micros, stands_px_micros
      from archive.executions;
