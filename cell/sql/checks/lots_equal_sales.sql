-- Unsettled proceeds: the lot of each settlement date is the sum of what was posted for the sales that settle on it, busts
-- and corrections included. A lot that is too small lets a customer withdraw what has not settled.
select coalesce(l.user_id, s.user_id) as user_id, coalesce(l.settles_on, s.settles_on) as settles_on,
       l.amount_micros, s.proceeds
  from brokerage.unsettled_lots l
  full join (
        select user_id, settles_on, sum(cost_micros) as proceeds
          from brokerage.all_executions where side = 'sell' group by user_id, settles_on
       ) s on s.user_id = l.user_id and s.settles_on = l.settles_on
 where coalesce(l.amount_micros, 0) <> coalesce(s.proceeds, 0)
