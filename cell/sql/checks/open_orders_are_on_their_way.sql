-- An accepted order is never forgotten: until it was sent there is an instruction to send it, and while a cancel is pending
-- there is an instruction to cancel.
select o.user_id, o.order_id, o.status
  from brokerage.orders o
 where o.status in ('funds_held', 'pending_cancel')
   and not exists (
        select from brokerage.venue_instructions i
         where i.user_id = o.user_id and i.order_id = o.order_id
           and i.action = case o.status when 'funds_held' then 'submit' else 'cancel' end
       )
