-- Every execution has its entry of its own kind, which moves exactly its quantity and its cost through `clearing`, and
-- there is no such entry without an execution. The cost is round-half-even(exact cost so far) minus what was posted
-- before. A bust takes its fill's quantity and cost back, a correction puts its own in their place; one that changes
-- nothing has no entry, nor has a superseded one, of which nothing or what it takes back stands.
with counted as not materialized (
    select *, coalesce(stands_qty_micros, last_qty_micros) as qty,
           -- 1e-12 dollars
           coalesce(stands_qty_micros, last_qty_micros)::numeric * coalesce(stands_px_micros, last_px_micros) as exact
      from all_executions
),
known as (
    select x.user_id, x.order_id, x.entry_seq, x.symbol, x.side, x.kind, x.cost_micros,
           case when x.kind = 'bust' then 0 else x.qty end - coalesce(t.qty, 0) as qty_change,
           case when x.kind = 'bust' then 0 else x.exact end - coalesce(t.exact, 0) as exact_change
      from counted x
      left join counted t on t.user_id = x.user_id and t.order_id = x.order_id and t.venue = x.venue
            and t.session = x.session and t.trade_date = x.ref_trade_date and t.exec_id = x.ref_exec_id
),
priced as (
    select k.*, sum(exact_change) over so_far as exact_after,
           sum(exact_change) over so_far - exact_change as exact_before
      from known k
    window so_far as (partition by user_id, order_id order by entry_seq, kind = 'correct' rows unbounded preceding)
),
rounded as (
    select p.*, a.micros - b.micros as true_cost
      from priced p
      cross join lateral (values (div(exact_after, 1000000), mod(exact_after, 1000000))) as x (quotient, remainder)
      cross join lateral (values (div(exact_before, 1000000), mod(exact_before, 1000000))) as y (quotient, remainder)
      cross join lateral (select x.quotient
            + case when x.remainder > 500000 or (x.remainder = 500000 and mod(x.quotient, 2) = 1) then 1 else 0 end
                as micros) a
      cross join lateral (select y.quotient
            + case when y.remainder > 500000 or (y.remainder = 500000 and mod(y.quotient, 2) = 1) then 1 else 0 end
                as micros) b
),
posted as (
    select e.user_id, e.seq, e.order_id, e.kind,
           sum(case when l.unit <> 'USD' then 0 when l.direction = 'credit' then l.amount_micros
                    else -l.amount_micros end) as paid,
           sum(case when l.unit = 'USD' then 0 when l.direction = 'debit' then l.amount_micros
                    else -l.amount_micros end) as got,
           max(l.unit) filter (where l.unit <> 'USD') as symbol
      from all_journal_entries e
      left join all_postings l on l.user_id = e.user_id and l.entry_seq = e.seq and l.account = 'clearing'
     where e.kind in ('fill', 'bust', 'correct')
     group by e.user_id, e.seq, e.order_id, e.kind
)
select coalesce(r.user_id, p.user_id) as user_id, coalesce(r.entry_seq, p.seq) as entry_seq,
       case when r.user_id is null then 'entry without execution'
            when r.cost_micros <> r.true_cost then 'cost is not quantity times price'
            when p.user_id is null then 'execution without entry'
            when r.order_id is distinct from p.order_id or r.kind <> p.kind then 'entry of another order or kind'
            else 'entry moves something else' end as problem,
       r.cost_micros, r.true_cost, p.paid as posted_cost, r.qty_change, p.got as posted_qty
  from rounded r
  full join posted p on p.user_id = r.user_id and p.seq = r.entry_seq
       and not (r.cost_micros = 0 and r.qty_change = 0)
 where r.user_id is null
    or r.cost_micros <> r.true_cost
    or not (r.cost_micros = 0 and r.qty_change = 0)
       and (p.user_id is null
            or r.order_id is distinct from p.order_id or r.kind <> p.kind
            or (r.qty_change <> 0 and r.symbol is distinct from p.symbol)
            or coalesce(p.paid, 0) <> case r.side when 'buy' then r.cost_micros else -r.cost_micros end
            or coalesce(p.got, 0) <> case r.side when 'buy' then r.qty_change else -r.qty_change end)
