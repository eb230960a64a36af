-- What each order holds is the fold of its own entries' postings to `cash_held` and `shares_held`.
select coalesce(o.user_id, p.user_id) as user_id, coalesce(o.order_id, p.order_id) as order_id,
       o.held_cash_micros, p.cash_held as posted_cash_held, o.held_shares_micros, p.shares_held as posted_shares_held
  from brokerage.orders o
  full join (
        select e.user_id, e.order_id,
               sum(case when l.account <> 'cash_held' then 0 when l.direction = 'credit' then l.amount_micros
                        else -l.amount_micros end) as cash_held,
               sum(case when l.account <> 'shares_held' then 0 when l.direction = 'credit' then l.amount_micros
                        else -l.amount_micros end) as shares_held
          from all_postings l
          left join all_journal_entries e on e.user_id = l.user_id and e.seq = l.entry_seq
         where l.account in ('cash_held', 'shares_held')
         group by e.user_id, e.order_id
       ) p on p.user_id = o.user_id and p.order_id = o.order_id
 where o.order_id is null
    or o.held_cash_micros <> coalesce(p.cash_held, 0)
    or o.held_shares_micros <> coalesce(p.shares_held, 0)
