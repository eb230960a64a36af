-- Commands never overdraw; what the world reports may, and then the user is restricted until it is made good.
select u.user_id, 'USD' as unit, u.cash_micros as balance_micros
  from brokerage.users u
 where u.cash_micros < 0 and not u.restricted
union all
select p.user_id, p.symbol, p.qty_micros - p.qty_held_micros
  from brokerage.positions p
  join brokerage.users u on u.user_id = p.user_id
 where p.qty_micros < p.qty_held_micros and not u.restricted
