-- An order's status and fill are the fold of its events: they begin at step 3 from `validated`, each continues the one
-- before along the transition table, steps have no gap, and the last one is what the order's row says.
with steps as (
    select user_id, order_id, seq, from_status, to_status, exec_id, cum_qty_micros, cum_cost_micros,
           lag(seq) over by_seq as seq_before, lag(to_status) over by_seq as status_before,
           lag(cum_qty_micros) over by_seq as cum_qty_before, lag(cum_cost_micros) over by_seq as cum_cost_before,
           lead(seq) over by_seq is null as is_last
      from all_order_events
    window by_seq as (partition by user_id, order_id order by seq)
),
broken as (
    select s.user_id, s.order_id, s.seq,
           case when s.seq <> coalesce(s.seq_before + 1, 3) then 'steps have a gap'
                when s.from_status is distinct from coalesce(s.status_before, 'validated')
                    then 'does not continue the step before'
                when t.to_status is null then 'transition is not allowed'
                else 'filled quantity or cost shrinks' end as problem
      from steps s
      left join brokerage.order_transitions t on t.from_status = s.from_status and t.to_status = s.to_status
     where s.seq <> coalesce(s.seq_before + 1, 3)
        or s.from_status is distinct from coalesce(s.status_before, 'validated')
        or t.to_status is null
        or ((s.cum_qty_micros < coalesce(s.cum_qty_before, 0) or s.cum_cost_micros < coalesce(s.cum_cost_before, 0))
            -- only a bust or a correction may take something back
            and not exists (select from all_executions x
                             where x.user_id = s.user_id and x.order_id = s.order_id and x.exec_id = s.exec_id
                                 and x.kind <> 'fill'))
)
select user_id, order_id, seq, problem from broken
union all
select coalesce(o.user_id, s.user_id), coalesce(o.order_id, s.order_id), coalesce(s.seq, o.event_seq),
       case when s.order_id is null then 'order without events'
            when o.order_id is null then 'events without order'
            when o.status <> s.to_status then 'status is not that of the last event'
            when o.event_seq <> s.seq then 'event_seq is not that of the last event'
            else 'filled quantity or cost is not that of the last event' end
  from brokerage.orders o
  full join (select * from steps where is_last) s on s.user_id = o.user_id and s.order_id = o.order_id
 where o.order_id is null or s.order_id is null or o.status <> s.to_status or o.event_seq <> s.seq
    or o.cum_qty_micros <> s.cum_qty_micros or o.cum_cost_micros <> s.cum_cost_micros
