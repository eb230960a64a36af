-- Positions and cost basis are the fold of executions and accepted share transfers, in order of their entries:
-- a transfer brings quantity and basis; a buy adds its posted cost; a sell removes round-half-even(basis x sold / held),
-- all of it when the position reaches zero. Of what comes in while shares are owed, only the part beyond zero has a basis.
-- Every stored step is recomputed from the running sums before it, exactly.
with changes as (   -- price: what the basis of an incoming quantity is made of, as a fraction: qty x price / scale
    select user_id, symbol, entry_seq, side, last_qty_micros as qty, cost_micros::numeric as price, last_qty_micros::numeric as scale,
           case side when 'buy' then last_qty_micros else -last_qty_micros end as qty_change,
           case side when 'buy' then basis_micros else -basis_micros end as basis_change
      from brokerage.executions
    union all
    select t.user_id, t.symbol, e.seq, 'transfer', t.qty_micros, t.unit_cost_micros, 1000000, t.qty_micros, t.cost_basis_micros
      from brokerage.share_transfers t
      join brokerage.journal_entries e on e.user_id = t.user_id and e.entry_id = t.transfer_id
     where t.status = 'accepted'
),
running as (
    select *, sum(qty_change) over so_far as qty_after, sum(basis_change) over so_far as basis_after,
           sum(qty_change) over so_far - qty_change as qty_before,
           sum(basis_change) over so_far - basis_change as basis_before,
           lead(entry_seq) over so_far is null as is_last
      from changes
    window so_far as (partition by user_id, symbol order by entry_seq rows unbounded preceding)
),
divided as (   -- whole quotient and remainder: a rounded division cannot tell a tie
    select r.*, f.divisor, div(f.dividend, f.divisor) as quotient, mod(f.dividend, f.divisor) as remainder
      from running r
      cross join lateral (select
            case side when 'sell' then basis_before * qty else price * least(qty, greatest(qty_after, 0)) end as dividend,
            case side when 'sell' then greatest(qty_before, 1) else scale end as divisor) f
),
rounded as (
    select *, quotient + case when 2 * remainder > divisor or (2 * remainder = divisor and mod(quotient, 2) = 1) then 1 else 0 end
            as whole
      from divided
),
expected as (
    select *, case when side <> 'sell' then whole
                   when qty_before <= qty then -basis_before
                   else -whole end as true_basis_change
      from rounded
)
select user_id, symbol, entry_seq, 'cost basis of this step' as problem, basis_change as stored, true_basis_change as expected
  from expected
 where basis_change <> true_basis_change
union all
select coalesce(p.user_id, r.user_id), coalesce(p.symbol, r.symbol), r.entry_seq, 'quantity of the position', p.qty_micros, r.qty_after
  from brokerage.positions p
  full join (select * from running where is_last) r on r.user_id = p.user_id and r.symbol = p.symbol
 where coalesce(p.qty_micros, 0) <> coalesce(r.qty_after, 0)
union all
select coalesce(p.user_id, r.user_id), coalesce(p.symbol, r.symbol), r.entry_seq, 'cost basis of the position',
       p.cost_basis_micros, r.basis_after
  from brokerage.positions p
  full join (select * from running where is_last) r on r.user_id = p.user_id and r.symbol = p.symbol
 where coalesce(p.cost_basis_micros, 0) <> coalesce(r.basis_after, 0)
