-- While an order is open, its hold covers what may still fill: leaves at the hold's price (rounding may take one
-- micro), or the shares. An order by amount holds what is left of the amount, a sale by amount some shares that cover
-- it.
-- While a replacement is pending, the order that it replaces holds the larger of what the two need, and the new one
-- nothing.
select o.user_id, o.order_id, o.side, o.status, o.held_cash_micros, o.held_shares_micros,
       o.order_qty_micros - o.cum_qty_micros as leaves_qty_micros, n.replace_qty_micros
  from brokerage.orders o
  left join brokerage.orders n on n.user_id = o.user_id and n.order_id = o.replaced_by and n.status = 'pending_replace'
        and n.replaced_by is null
 where o.status not in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')
   and case
           when o.order_qty_micros is null and o.side = 'buy'
               then o.held_cash_micros <> greatest(o.notional_micros - o.cum_cost_micros, 0)
           when o.order_qty_micros is null then o.held_cash_micros <> 0
           when o.status = 'pending_replace' and o.replaced_by is null
               then o.held_cash_micros + o.held_shares_micros <> 0
           when o.side = 'buy' then o.held_cash_micros + 1 < greatest(
               (o.order_qty_micros - o.cum_qty_micros)::numeric * o.hold_px_micros,
               (n.replace_qty_micros - o.cum_qty_micros)::numeric * n.hold_px_micros) * 0.000001
           else o.held_shares_micros <> greatest(o.order_qty_micros, n.replace_qty_micros) - o.cum_qty_micros
       end
