-- An early report is of an order that is here and waits for something: for an execution that is not here, or for room
-- that is not there. It was not applied, nobody took back what it corrects, and what waits for room is not waited for
-- itself.
select r.user_id, r.inbox_id, r.order_id, r.ref_exec_id,
       case when o.order_id is null then 'of an order that is not there'
            when o.cum_qty_micros::numeric + r.room_qty_micros <= o.order_qty_micros
                 or o.cum_cost_exact + r.room_cost_exact <= o.notional_micros::numeric * 1000000
                     then 'there is room for it'
            when w.is_applied then 'it was applied before'
            when w.is_awaited then 'what takes it back is here'
            when not w.needs_room then 'its execution is here'
            else 'what it corrects was taken back' end as problem
  from brokerage.early_reports r
  left join brokerage.orders o on o.user_id = r.user_id and o.order_id = r.order_id
 cross join lateral (
       select coalesce(bool_or(x.trade_date = r.trade_date and x.exec_id = r.body ->> 'exec_id'), false) as is_applied,
              max(x.trade_date) filter (where x.exec_id = r.ref_exec_id and x.trade_date <= r.trade_date) as taken_date,
              r.room_qty_micros is not null or r.room_cost_exact is not null as needs_room,
              (r.room_qty_micros is not null or r.room_cost_exact is not null) and exists (
                  select from brokerage.early_reports e
                   where e.user_id = r.user_id and e.order_id = r.order_id and e.venue = r.venue
                       and e.session = r.session
                     and e.ref_exec_id = r.body ->> 'exec_id' and e.trade_date >= r.trade_date
                     and e.room_qty_micros is null and e.room_cost_exact is null
                     and (e.body ->> 'exec_id' <> r.body ->> 'exec_id' or e.trade_date <> r.trade_date)) as is_awaited
         from all_executions x
        where x.user_id = r.user_id and x.order_id = r.order_id and x.venue = r.venue and x.session = r.session) w
 where o.order_id is null
    or o.cum_qty_micros::numeric + r.room_qty_micros <= o.order_qty_micros
    or o.cum_cost_exact + r.room_cost_exact <= o.notional_micros::numeric * 1000000
    or w.is_applied
    or w.is_awaited
    or w.taken_date is not null and (
           not w.needs_room
           or exists (select from all_executions y
                       where y.user_id = r.user_id and y.order_id = r.order_id and y.venue = r.venue
                           and y.session = r.session
                         and y.ref_exec_id = r.ref_exec_id and y.ref_trade_date = w.taken_date))
