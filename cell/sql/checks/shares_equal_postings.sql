-- positions.qty_micros is the fold of the accounts `shares` and `shares_held`, qty_held_micros that of `shares_held`
-- alone.
select coalesce(s.user_id, p.user_id) as user_id, coalesce(s.symbol, p.unit) as symbol, s.qty_micros,
       p.shares + p.shares_held as posted_qty, s.qty_held_micros, p.shares_held as posted_qty_held
  from brokerage.positions s
  full join (
        select user_id, unit,
               sum(case when account <> 'shares' then 0 when direction = 'credit' then amount_micros
                        else -amount_micros end)
                   as shares,
               sum(case when account <> 'shares_held' then 0 when direction = 'credit' then amount_micros
                        else -amount_micros end)
                   as shares_held
          from all_postings
         where unit <> 'USD'
         group by user_id, unit
       ) p on p.user_id = s.user_id and p.unit = s.symbol
 where coalesce(s.qty_micros, 0) <> coalesce(p.shares + p.shares_held, 0)
    or coalesce(s.qty_held_micros, 0) <> coalesce(p.shares_held, 0)
