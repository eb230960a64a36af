-- Every execution: what is written now and what has been archived. For reads and checks; nothing that writes uses it.
create or replace view all_executions as
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros,
           last_px_micros, cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date,
           qty_change_micros, basis_change_micros, settles_on, owed_micros, stands_qty_micros, stands_px_micros,
           recorded_at
      from brokerage.executions
    union all
    select user_id, order_id, venue, session, trade_date, exec_id, fingerprint, symbol, side, last_qty_micros,
           last_px_micros, cost_micros, basis_micros, entry_seq, at, kind, ref_exec_id, ref_trade_date,
           qty_change_micros, basis_change_micros, settles_on, owed_micros, stands_qty_micros, stands_px_micros,
           recorded_at
      from archive.executions;
