-- Every execution has exactly one order event, with its quantity and price, and no event names a fill that is not
-- there. One by one, not summed up: two wrong ones do not make up for each other.
select coalesce(x.user_id, v.user_id) as user_id, coalesce(x.order_id, v.order_id) as order_id,
       coalesce(x.exec_id, v.exec_id) as exec_id, coalesce(x.last_qty_micros, v.last_qty_micros) as qty,
       x.execution_count, v.event_count
  from (
        select user_id, order_id, exec_id, last_px_micros, last_qty_micros, count(*) as execution_count
          from all_executions group by user_id, order_id, exec_id, last_px_micros, last_qty_micros
       ) x
  full join (
        select user_id, order_id, exec_id, last_px_micros, last_qty_micros, count(*) as event_count
          from all_order_events where exec_id is not null
         group by user_id, order_id, exec_id, last_px_micros, last_qty_micros
       ) v on v.user_id = x.user_id and v.order_id = x.order_id and v.exec_id = x.exec_id
            and v.last_px_micros = x.last_px_micros and v.last_qty_micros = x.last_qty_micros
 where x.execution_count is distinct from v.event_count
