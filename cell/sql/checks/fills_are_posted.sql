-- Every execution has its entry of kind `fill`, which moves exactly its quantity and its cost through `clearing`, and there
-- is no such entry without an execution. The cost is round-half-even(exact cost so far) minus what was posted before.
with priced as (
    select user_id, order_id, entry_seq, symbol, side, last_qty_micros, cost_micros,
           sum(last_qty_micros::numeric * last_px_micros) over so_far as exact_after,   -- in 1e-12 dollars
           sum(last_qty_micros::numeric * last_px_micros) over so_far - last_qty_micros::numeric * last_px_micros as exact_before
      from brokerage.executions
    window so_far as (partition by user_id, order_id order by entry_seq rows unbounded preceding)
),
rounded as (
    select p.*, a.micros - b.micros as true_cost
      from priced p
      cross join lateral (values (div(exact_after, 1000000), mod(exact_after, 1000000))) as x (quotient, remainder)
      cross join lateral (values (div(exact_before, 1000000), mod(exact_before, 1000000))) as y (quotient, remainder)
      cross join lateral (select x.quotient
            + case when x.remainder > 500000 or (x.remainder = 500000 and mod(x.quotient, 2) = 1) then 1 else 0 end as micros) a
      cross join lateral (select y.quotient
            + case when y.remainder > 500000 or (y.remainder = 500000 and mod(y.quotient, 2) = 1) then 1 else 0 end as micros) b
),
posted as (
    select e.user_id, e.seq, e.order_id,
           sum(case when l.unit <> 'USD' then 0 when l.direction = 'credit' then l.amount_micros else -l.amount_micros end) as paid,
           sum(case when l.unit = 'USD' then 0 when l.direction = 'debit' then l.amount_micros else -l.amount_micros end) as got,
           max(l.unit) filter (where l.unit <> 'USD') as symbol
      from brokerage.journal_entries e
      left join brokerage.postings l on l.user_id = e.user_id and l.entry_seq = e.seq and l.account = 'clearing'
     where e.kind = 'fill'
     group by e.user_id, e.seq
)
select coalesce(r.user_id, p.user_id) as user_id, coalesce(r.entry_seq, p.seq) as entry_seq,
       case when p.user_id is null then 'execution without entry'
            when r.user_id is null then 'fill entry without execution'
            when r.order_id is distinct from p.order_id then 'entry of another order'
            when r.cost_micros <> r.true_cost then 'cost is not quantity times price'
            else 'entry moves something else' end as problem,
       r.cost_micros, r.true_cost, p.paid as posted_cost, r.last_qty_micros, p.got as posted_qty
  from rounded r
  full join posted p on p.user_id = r.user_id and p.seq = r.entry_seq
 where p.user_id is null or r.user_id is null
    or r.order_id is distinct from p.order_id
    or r.symbol is distinct from p.symbol
    or r.cost_micros <> r.true_cost
    or p.paid is distinct from case r.side when 'buy' then r.cost_micros else -r.cost_micros end
    or p.got is distinct from case r.side when 'buy' then r.last_qty_micros else -r.last_qty_micros end
