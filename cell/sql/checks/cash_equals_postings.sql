-- users.cash_micros and cash_held_micros are the fold of the postings to the accounts `cash` and `cash_held`.
select coalesce(u.user_id, p.user_id) as user_id, u.cash_micros, p.cash as posted_cash,
       u.cash_held_micros, p.cash_held as posted_cash_held
  from brokerage.users u
  full join (
        select user_id,
               sum(case when account <> 'cash' then 0 when direction = 'credit' then amount_micros
                        else -amount_micros end) as cash,
               sum(case when account <> 'cash_held' then 0 when direction = 'credit' then amount_micros
                        else -amount_micros end)
                   as cash_held
          from all_postings
         where unit = 'USD'
         group by user_id
       ) p on p.user_id = u.user_id
 where u.purged_at is null
   and (u.user_id is null or u.cash_micros <> coalesce(p.cash, 0) or u.cash_held_micros <> coalesce(p.cash_held, 0))
