-- From each step of an order to the next, the filled quantity and the posted cost change by what the step reports: by
-- its execution, by nothing if it has none.
with steps as (
    select user_id, order_id, seq, exec_id, last_px_micros,
           cum_qty_micros - coalesce(lag(cum_qty_micros) over by_seq, 0) as qty_change,
           cum_cost_micros - coalesce(lag(cum_cost_micros) over by_seq, 0) as cost_change
      from all_order_events
    window by_seq as (partition by user_id, order_id order by seq)
)
select s.user_id, s.order_id, s.seq, s.exec_id, s.qty_change, s.cost_change
  from steps s
 where s.exec_id is null and (s.qty_change <> 0 or s.cost_change <> 0)
    or s.exec_id is not null and not exists (
        select from all_executions x
         where x.user_id = s.user_id and x.order_id = s.order_id and x.exec_id = s.exec_id
             and x.last_px_micros = s.last_px_micros
           and s.qty_change = coalesce(x.qty_change_micros, x.last_qty_micros) and s.cost_change = x.cost_micros
       )
