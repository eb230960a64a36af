-- Every execution is told by exactly one order event, with its quantity and price, and no event tells a fill that is not there.
select coalesce(x.user_id, v.user_id) as user_id, coalesce(x.order_id, v.order_id) as order_id,
       coalesce(x.exec_id, v.exec_id) as exec_id, x.execution_count, v.event_count, x.qty as executed_qty, v.qty as told_qty
  from (
        select user_id, order_id, exec_id, last_px_micros, count(*) as execution_count, sum(last_qty_micros) as qty
          from brokerage.all_executions group by user_id, order_id, exec_id, last_px_micros
       ) x
  full join (
        select user_id, order_id, exec_id, last_px_micros, count(*) as event_count, sum(last_qty_micros) as qty
          from brokerage.all_order_events where exec_id is not null group by user_id, order_id, exec_id, last_px_micros
       ) v on v.user_id = x.user_id and v.order_id = x.order_id and v.exec_id = x.exec_id and v.last_px_micros = x.last_px_micros
 where x.execution_count is distinct from v.event_count or x.qty is distinct from v.qty
