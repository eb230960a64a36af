-- No instruction goes to the venue for an order that has ended or is not there, none twice, and only what the order's
-- status says: an unsent submit is of an order that is funds_held, a cancel of one that is pending_cancel, a replace of
-- a pending one.
select i.id, i.user_id, i.order_id, i.action, o.status
  from (select *, count(*) over (partition by user_id, order_id, action) as copies from brokerage.venue_instructions) i
  left join brokerage.orders o on o.user_id = i.user_id and o.order_id = i.order_id
 where o.order_id is null
    or i.copies > 1
    or o.status in ('filled', 'cancelled', 'expired', 'rejected', 'replaced', 'failed')
    or (i.action = 'submit' and i.sent_at is null and o.status <> 'funds_held')
    or (i.action in ('cancel', 'expire') and o.status <> 'pending_cancel')
    or (i.action = 'replace' and o.status <> 'pending_replace')
