-- While an order is open, its hold covers what may still fill: leaves at the hold's price (rounding may take one micro), or the shares.
select user_id, order_id, side, status, held_cash_micros, held_shares_micros, order_qty_micros - cum_qty_micros as leaves_qty_micros
  from brokerage.orders
 where status not in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')
   and order_qty_micros is not null
   and case side
           when 'buy' then held_cash_micros + 1 < (order_qty_micros - cum_qty_micros)::numeric * hold_px_micros * 0.000001
           else held_shares_micros <> order_qty_micros - cum_qty_micros
       end
