-- An order's filled quantity and cost are the sums of its executions that stand (neither busts nor taken back by a bust
-- or a correction; a superseded one counts for what it says), its posted cost that of all that was posted; it is
-- `filled` exactly when the quantity is complete;
-- an order by amount has not traded for more (a correction may have made it more);
-- no execution without its order, none on another symbol or side than the order's.
select coalesce(o.user_id, x.user_id) as user_id, coalesce(o.order_id, x.order_id) as order_id,
       case when o.order_id is null then 'executions without order'
            when o.cum_qty_micros <> coalesce(x.qty, 0) then 'filled quantity is not the sum of executions'
            when o.cum_cost_exact <> coalesce(x.exact_cost, 0) then 'exact cost is not the sum of executions'
            when o.cum_cost_micros <> coalesce(x.cost, 0) then 'posted cost is not the sum of executions'
            when x.exact_cost > o.notional_micros::numeric * 1000000 and not x.has_corrections
                then 'traded for more than the amount'
            when x.has_foreign then 'an execution on another symbol or side'
            else 'status and filled quantity disagree' end as problem,
       o.status, o.cum_qty_micros, x.qty as executed_qty, o.cum_cost_micros, x.cost as executed_cost
  from brokerage.orders o
  full join (
        select e.user_id, e.order_id, coalesce(sum(s.qty) filter (where s.stands), 0) as qty,
               sum(e.cost_micros) as cost,
               coalesce(sum(s.qty::numeric * s.px) filter (where s.stands), 0) as exact_cost,
               bool_or(e.symbol <> t.symbol or e.side <> t.side) as has_foreign,
               bool_or(e.kind = 'correct') as has_corrections
          from all_executions e
          left join brokerage.orders t on t.user_id = e.user_id and t.order_id = e.order_id
          left join (select distinct user_id, order_id, venue, session, ref_trade_date, ref_exec_id
                       from all_executions where ref_exec_id is not null) b
            on b.user_id = e.user_id and b.order_id = e.order_id and b.venue = e.venue and b.session = e.session
           and b.ref_trade_date = e.trade_date and b.ref_exec_id = e.exec_id
          cross join lateral (select e.kind <> 'bust' and b.user_id is null as stands,
                                     coalesce(e.stands_qty_micros, e.last_qty_micros) as qty,
                                     coalesce(e.stands_px_micros, e.last_px_micros) as px) s
         group by e.user_id, e.order_id
       ) x on x.user_id = o.user_id and x.order_id = o.order_id
 where o.order_id is null
    or o.cum_qty_micros <> coalesce(x.qty, 0)
    or o.cum_cost_exact <> coalesce(x.exact_cost, 0)
    or o.cum_cost_micros <> coalesce(x.cost, 0)
    or x.has_foreign
    or (x.exact_cost > o.notional_micros::numeric * 1000000 and not x.has_corrections)
    or (o.order_qty_micros is not null and (o.status = 'filled') <> (o.cum_qty_micros >= o.order_qty_micros))
    or (o.cum_qty_micros = 0 and o.status = 'partially_filled')
