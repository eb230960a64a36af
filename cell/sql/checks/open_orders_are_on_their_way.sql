-- An accepted order is never forgotten: until it was sent there is an instruction to send it, while a cancel is pending
-- an instruction to cancel; an armed order is among the armed stops, at its own terms, a queued one among the queued,
-- and nothing else is. While a replacement is pending there is an instruction to replace.
select o.user_id, o.order_id, o.status
  from brokerage.orders o
 where o.status in ('funds_held', 'pending_cancel')
   and not exists (
        select from brokerage.venue_instructions i
         where i.user_id = o.user_id and i.order_id = o.order_id
           and i.action = any (case o.status when 'funds_held' then array['submit'] else array['cancel', 'expire'] end)
       )
union all
select coalesce(o.user_id, a.user_id), coalesce(o.order_id, a.order_id), coalesce(o.status, 'no such order')
  from (select * from brokerage.orders where status = 'armed') o
  full join brokerage.armed_stops a on a.user_id = o.user_id and a.order_id = o.order_id
 where o.order_id is null or a.order_id is null
    or (a.symbol, a.side, a.stop_px_micros) is distinct from (o.symbol, o.side, o.stop_px_micros)
union all
select coalesce(o.user_id, q.user_id), coalesce(o.order_id, q.order_id), coalesce(o.status, 'no such order')
  from (select * from brokerage.orders where status = 'queued') o
  full join brokerage.queued_orders q on q.user_id = o.user_id and q.order_id = o.order_id
 where o.order_id is null or q.order_id is null
union all
select n.user_id, n.order_id, n.status
  from brokerage.orders n
 where n.status = 'pending_replace' and n.replaced_by is null
   and not exists (
        select from brokerage.venue_instructions i
         where i.user_id = n.user_id and i.order_id = n.order_id and i.action = 'replace'
       )
