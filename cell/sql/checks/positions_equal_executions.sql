-- Positions and cost basis are the fold of executions and accepted share transfers, in order of their entries:
-- a transfer brings quantity and basis; a buy adds its posted cost; a sell removes round-half-even(basis x sold /
-- held), all of it when the position reaches zero. Of what comes in while shares are owed, only the part beyond zero
-- has a basis. A bust or a correction of a buy changes the basis by its posted cost, one of a sell brings back what the
-- sale had removed (a corrected quantity: in proportion); never below zero, and zero when no share is left. Of a buy
-- that paid owed shares, a bust takes back what basis it had, and a correction changes it by price times the part
-- beyond what was owed.
-- A superseded execution changes nothing; the correction of a trade of which nothing counts is a trade of its own.
-- Every stored step is recomputed from the running sums before it, exactly.
with counted as not materialized (
    select e.*, c.qty, c.px from all_executions e
     cross join lateral (select coalesce(e.stands_qty_micros, e.last_qty_micros) as qty,
                                coalesce(e.stands_px_micros, e.last_px_micros) as px) c
),
changes as (   -- price: what the basis of an incoming quantity is made of, as a fraction: qty x price / scale
    select x.user_id, x.symbol, x.entry_seq, x.kind = 'correct' as is_correction, x.kind = 'bust' as is_bust, k.kind,
           x.qty,
           x.cost_micros as cost, x.cost_micros::numeric as price, greatest(x.qty, 1)::numeric as scale,
           case x.side when 'buy' then 1
                else -1 end * (case x.kind when 'bust' then 0 else x.qty end - coalesce(t.qty, 0)) as qty_change,
           case when k.kind = 'buy' then x.basis_micros when k.kind = 'sell' then -x.basis_micros
                else x.basis_change_micros end
               as basis_change,
           x.basis_micros as basis,
           t.basis_micros as taken_basis, x.owed_micros as owed, t.owed_micros as taken_owed,
           -- a corrected buy: the change of price times part, in 1e-12 dollars
           greatest(x.qty - coalesce(x.owed_micros, 0), 0)::numeric * x.px
               - greatest(t.qty - coalesce(x.owed_micros, 0), 0)::numeric * t.px as exact_change,
           case when x.kind = 'bust' then 0 when k.kind = 'revised sell' then
               div(2 * t.basis_micros::numeric * x.qty + t.qty, 2 * t.qty::numeric)
               -- a tie goes to the even one
               - case when mod(2 * t.basis_micros::numeric * x.qty + t.qty, 2 * t.qty::numeric) = 0
                       and mod(div(2 * t.basis_micros::numeric * x.qty + t.qty, 2 * t.qty::numeric), 2) = 1 then 1
                           else 0 end end
               as true_basis
      from counted x
      left join counted t on t.user_id = x.user_id and t.order_id = x.order_id and t.venue = x.venue
            and t.session = x.session and t.trade_date = x.ref_trade_date and t.exec_id = x.ref_exec_id
     cross join lateral (select case when x.stands_qty_micros is not null then 'none'
                                     when x.kind = 'fill' or (x.kind = 'correct' and t.qty = 0) then x.side
                                     else 'revised ' || x.side end as kind) k
    union all
    select t.user_id, t.symbol, e.seq, false, false, 'transfer', t.qty_micros, t.cost_basis_micros, t.unit_cost_micros,
           1000000,
           t.qty_micros, t.cost_basis_micros, t.cost_basis_micros, null, null, null, null, null
      from brokerage.share_transfers t
      join all_journal_entries e on e.user_id = t.user_id and e.entry_id = t.transfer_id
     where t.status = 'accepted'
),
running as (
    select *, sum(qty_change) over so_far as qty_after, sum(basis_change) over so_far as basis_after,
           sum(qty_change) over so_far - qty_change as qty_before,
           sum(basis_change) over so_far - basis_change as basis_before,
           lead(entry_seq) over so_far is null as is_last
      from changes
    window so_far as (partition by user_id, symbol order by entry_seq, is_correction rows unbounded preceding)
),
divided as (   -- whole quotient and remainder: a rounded division cannot show a tie
    select r.*, f.divisor, div(f.dividend, f.divisor) as quotient, mod(f.dividend, f.divisor) as remainder
      from running r
      cross join lateral (select
            case kind when 'sell' then basis_before * qty else price * least(qty, greatest(qty_after, 0)) end
                as dividend,
            case kind when 'sell' then greatest(qty_before, 1) else scale end as divisor) f
),
rounded as (
    select *, quotient
           + case when 2 * remainder > divisor or (2 * remainder = divisor and mod(quotient, 2) = 1) then 1 else 0 end
            as whole
      from divided
),
revised as (   -- what a bust or a correction of a buy changes the basis by
    select *, case when coalesce(owed, 0) = 0 then cost when is_bust then -taken_basis
                   else sign(exact_change) * (div(abs(exact_change), 1000000)
                       + case when 2 * mod(abs(exact_change), 1000000) > 1000000
                                or (2 * mod(abs(exact_change), 1000000) = 1000000
                                    and mod(div(abs(exact_change), 1000000), 2) = 1)
                              then 1 else 0 end) end as buy_change
      from rounded
),
expected as (
    select *, case when kind in ('transfer', 'buy') then whole
                   when kind = 'none' then 0
                   when starts_with(kind, 'revised') and qty_after <= 0 then -basis_before
                   when kind = 'revised buy' then greatest(basis_before + buy_change, 0) - basis_before
                   when kind = 'revised sell' then greatest(basis_before + taken_basis - true_basis, 0) - basis_before
                   when qty_before <= qty then -basis_before
                   else -whole end as true_basis_change
      from revised
)
select user_id, symbol, entry_seq, 'cost basis of this step' as problem, basis_change as stored,
       true_basis_change as expected
  from expected
 where basis_change <> true_basis_change
union all
select user_id, symbol, entry_seq, 'cost basis of the trade as it stands', basis, true_basis
  from expected
 where starts_with(kind, 'revised')
     and basis is distinct from case when kind = 'revised sell' or is_bust then true_basis
                                     else greatest(taken_basis + buy_change, 0) end
union all
select user_id, symbol, entry_seq, 'shares owed before the trade', owed,
       case kind when 'buy' then greatest(-qty_before, 0) else taken_owed end
  from expected
 where (kind = 'buy' and owed <> greatest(-qty_before, 0))
    or (kind = 'revised buy' and owed <> coalesce(taken_owed, 0))
union all
select coalesce(p.user_id, r.user_id), coalesce(p.symbol, r.symbol), r.entry_seq, 'quantity of the position',
       p.qty_micros, r.qty_after
  from brokerage.positions p
  full join (select * from running where is_last) r on r.user_id = p.user_id and r.symbol = p.symbol
 where coalesce(p.qty_micros, 0) <> coalesce(r.qty_after, 0)
union all
select coalesce(p.user_id, r.user_id), coalesce(p.symbol, r.symbol), r.entry_seq, 'cost basis of the position',
       p.cost_basis_micros, r.basis_after
  from brokerage.positions p
  full join (select * from running where is_last) r on r.user_id = p.user_id and r.symbol = p.symbol
 where coalesce(p.cost_basis_micros, 0) <> coalesce(r.basis_after, 0)
