-- Unsettled proceeds: the lot of each settlement date is the sum of what was posted for the sales that settle on it,
-- busts and corrections included. A lot that is too small, or of too early a day, lets a customer withdraw what has not
-- settled. A sale settles after the day of its trade, and on the next session's at the latest, if the calendar has one
-- between; what takes a sale back settles with it.
select coalesce(l.user_id, s.user_id) as user_id, coalesce(l.settles_on, s.settles_on) as settles_on,
       'the lot is not the sum of its sales' as problem, l.amount_micros, s.proceeds
  from brokerage.unsettled_lots l
  full join (
        select user_id, settles_on, sum(cost_micros) as proceeds
          from all_executions where side = 'sell' group by user_id, settles_on
       ) s on s.user_id = l.user_id and s.settles_on = l.settles_on
 where coalesce(l.amount_micros, 0) <> coalesce(s.proceeds, 0)
union all
select x.user_id, x.settles_on, 'a sale of ' || x.trade_date || ' settles on another day', x.cost_micros, null
  from all_executions x
 where x.side = 'sell' and x.kind = 'fill'
   and (x.settles_on <= x.trade_date
        or exists (select from brokerage.market_sessions m
                   where m.trade_date > x.trade_date and m.trade_date < x.settles_on))
union all
select x.user_id, x.settles_on, 'it takes a sale back that settles on another day', x.cost_micros, null
  from all_executions x
  join all_executions t on t.user_id = x.user_id and t.order_id = x.order_id and t.venue = x.venue
       and t.session = x.session and t.trade_date = x.ref_trade_date and t.exec_id = x.ref_exec_id
 where x.side = 'sell' and x.settles_on <> t.settles_on
