-- Every event of every order: what is written now and what has been archived. For reads and checks; nothing that
-- writes uses it.
create or replace view all_order_events as
    select user_id, order_id, seq, stream_seq, from_status, to_status, reason, at, exec_id, last_qty_micros,
           last_px_micros, cum_qty_micros, cum_cost_micros, order_qty_micros
      from brokerage.order_events
    union all
    select user_id, order_id, seq, stream_seq, from_status, to_status, reason, at, exec_id, last_qty_micros,
           last_px_micros, cum_qty_micros, cum_cost_micros, order_qty_micros
      from archive.order_events;
