-- Held cash and held shares are the sums over open orders, and an ended order holds nothing.
select coalesce(u.user_id, o.user_id) as user_id, 'USD' as unit, u.cash_held_micros as held_micros,
       o.held as held_by_orders
  from brokerage.users u
  full join (select user_id, sum(held_cash_micros) as held from brokerage.orders group by user_id) o on o.user_id
      = u.user_id
 where u.purged_at is null and coalesce(u.cash_held_micros, 0) <> coalesce(o.held, 0)
union all
select coalesce(p.user_id, o.user_id), coalesce(p.symbol, o.symbol), p.qty_held_micros, o.held
  from brokerage.positions p
  full join (select user_id, symbol, sum(held_shares_micros) as held from brokerage.orders group by user_id, symbol) o
    on o.user_id = p.user_id and o.symbol = p.symbol
 where coalesce(p.qty_held_micros, 0) <> coalesce(o.held, 0)
union all
select user_id, order_id::text, held_cash_micros + held_shares_micros, 0
  from brokerage.orders
 where status in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')
   and (held_cash_micros <> 0 or held_shares_micros <> 0)
