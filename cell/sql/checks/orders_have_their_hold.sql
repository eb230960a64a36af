-- No accepted order without its journal entry: exactly one hold, of the order's full cost at its price, or of its
-- shares. One by amount holds the amount; a sale by amount holds shares, and while it is open it keeps those that are
-- not sold. A replacement has none until the venue confirms it, and never if it is refused, or nothing was left for it
-- to trade. Violation also: an entry that names an order which does not exist.
select coalesce(o.user_id, h.user_id) as user_id, coalesce(o.order_id, h.order_id) as order_id,
       case when o.order_id is null then 'entries name an order that is not there'
            when coalesce(h.hold_count, 0) <> 1 then 'not exactly one hold'
            else 'the hold is not what the order needs' end as problem,
       h.held_cash, h.held_shares
  from brokerage.orders o
  full join (
        select e.user_id, e.order_id, count(distinct e.seq) filter (where e.kind = 'hold') as hold_count,
               sum(l.amount_micros) filter (where e.kind = 'hold' and l.account = 'cash_held'
                                            and l.direction = 'credit')
                   as held_cash,
               sum(l.amount_micros) filter (where e.kind = 'hold' and l.account = 'shares_held'
                                            and l.direction = 'credit'
                                             and l.unit = t.symbol) as held_shares
          from all_journal_entries e
          left join all_postings l on l.user_id = e.user_id and l.entry_seq = e.seq
          left join brokerage.orders t on t.user_id = e.user_id and t.order_id = e.order_id
         where e.order_id is not null
         group by e.user_id, e.order_id
       ) h on h.user_id = o.user_id and h.order_id = o.order_id
 where o.order_id is null
    or coalesce(h.hold_count, 0) <> case when (o.status = 'pending_replace' and o.replaced_by is null)
            or (o.replaces is not null and exists (
                    select from all_order_events v
                     where v.user_id = o.user_id and v.order_id = o.order_id and v.seq = 4
                       and v.from_status = 'pending_replace' and v.to_status in ('rejected', 'cancelled'))) then 0
                           else 1 end
    or h.hold_count = 1 and ((o.side = 'buy' and o.order_qty_micros is not null
        and h.held_cash is distinct from ceil(o.order_qty_micros::numeric * o.hold_px_micros * 0.000001))
    or (o.side = 'buy' and o.order_qty_micros is null and h.held_cash is distinct from o.notional_micros)
    or (o.side = 'sell' and o.order_qty_micros is not null and h.held_shares is distinct from o.order_qty_micros)
    or (o.side = 'sell' and o.order_qty_micros is null and (h.held_shares is null
        or o.status not in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')
           and h.held_shares > o.held_shares_micros + o.cum_qty_micros)))
